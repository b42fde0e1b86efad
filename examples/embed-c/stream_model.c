/* Steps a stream of frames through a model: raw float32 from stdin to stdout, each frame as soon as it is there.
 *
 *     stream_model MODEL < features.f32 > results.f32
 *
 * A frame is the model's input without batch and time. C11 and C++ alike. After the model is open, nothing is
 * allocated: between read and write stands one call. */
#define _POSIX_C_SOURCE 200809L
#include <seqcore/seqcore.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exit status: what went wrong */
enum { FINE = 0, BAD_USAGE = 2, BAD_MODEL = 3, BAD_INPUT = 4, BAD_OUTPUT = 5 };

static int fail(int status, const char *what, const char *why)
{
    fprintf(stderr, "stream_model: %s: %s\n", what, why);
    return status;
}

/* The model's stream with the memory of one frame in and one frame out. */
typedef struct job {
    sc_plan *plan;
    sc_stream *stream;
    sc_array in, out;
    size_t in_bytes, out_bytes;
} job;

/* The array of one row of what `info` tells; NULL without memory. */
static sc_array frame_of(const sc_info *info, size_t *bytes)
{
    sc_array array;
    memset(&array, 0, sizeof array);
    array.rank = info->rank;
    *bytes = sizeof(float);
    for (size_t d = 0; d < info->rank; d++) {
        array.shape[d] = info->shape[d] == SC_UNKNOWN ? 1 : info->shape[d];
        *bytes *= array.shape[d];
    }
    array.data = malloc(*bytes);
    return array;
}

static int set_up(job *j, const char *path)
{
    sc_options options;
    sc_info in, out;
    sc_error error;
    memset(&options, 0, sizeof options);
    options.threads = 1; /* then a step neither allocates nor waits */
    if (sc_plan_open(path, &options, &j->plan, &error) != SC_OK) {
        return fail(BAD_MODEL, "cannot open the model", error.message);
    }
    if (sc_stream_create(j->plan, 1, &j->stream, &error) != SC_OK) {
        return fail(BAD_MODEL, path, error.message);
    }
    if (sc_plan_step_inputs(j->plan) != 1 || sc_plan_step_outputs(j->plan) != 1 ||
        sc_plan_step_input_info(j->plan, 0, &in, &error) != SC_OK ||
        sc_plan_step_output_info(j->plan, 0, &out, &error) != SC_OK || in.dtype != SC_F32) {
        return fail(BAD_MODEL, path, "the model must have one input, of floats, and one output");
    }
    j->in = frame_of(&in, &j->in_bytes);
    j->out = frame_of(&out, &j->out_bytes);
    return j->in.data != NULL && j->out.data != NULL ? FINE : fail(BAD_MODEL, path, "not enough memory for a frame");
}

static void tear_down(job *j)
{
    free(j->in.data);
    free(j->out.data);
    sc_stream_free(j->stream);
    sc_plan_free(j->plan);
}

/* Reads a whole frame, however many pieces it comes in. Returns its bytes, fewer at the end of the input; -1 when errno
 * says why. */
static ssize_t read_frame(int from, void *frame, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        const ssize_t now = read(from, (char *)frame + done, bytes - done);
        if (now < 0 && errno == EINTR) {
            continue;
        }
        if (now <= 0) {
            return now < 0 ? -1 : (ssize_t)done;
        }
        done += (size_t)now;
    }
    return (ssize_t)done;
}

static int write_frame(int to, const void *frame, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t now = write(to, (const char *)frame + done, bytes - done);
        if (now < 0 && errno != EINTR) {
            return -1;
        }
        done += now > 0 ? (size_t)now : 0;
    }
    return 0;
}

static int stream_frames(job *j)
{
    char why[128];
    sc_error error;
    for (unsigned long long frame = 0;; frame++) {
        const ssize_t got = read_frame(STDIN_FILENO, j->in.data, j->in_bytes);
        if (got < 0) {
            return fail(BAD_INPUT, "stdin", strerror(errno));
        }
        if (got == 0) {
            return FINE;
        }
        if ((size_t)got < j->in_bytes) {
            snprintf(why, sizeof why, "ends within frame %llu: %zd of %zu bytes", frame, got, j->in_bytes);
            return fail(BAD_INPUT, "stdin", why);
        }
        if (sc_stream_step(j->stream, &j->in, &j->out, &error) != SC_OK) {
            return fail(BAD_MODEL, "step", error.message);
        }
        if (write_frame(STDOUT_FILENO, j->out.data, j->out_bytes) != 0) {
            return fail(BAD_OUTPUT, "stdout", errno == EPIPE ? "its reader is gone" : strerror(errno));
        }
    }
}

int main(int count, char **arguments)
{
    job j;
    int status;
    if (count != 2 || arguments[1][0] == '-') {
        fprintf(stderr, "usage: stream_model MODEL < FRAMES > FRAMES\n"
                        "Frames are raw float32 of this machine: the model's features in, its results out.\n");
        return BAD_USAGE;
    }
    signal(SIGPIPE, SIG_IGN); /* write tells of it: EPIPE */
    memset(&j, 0, sizeof j);
    status = set_up(&j, arguments[1]);
    if (status == FINE) {
        status = stream_frames(&j);
    }
    tear_down(&j);
    return status;
}
