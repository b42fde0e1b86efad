/* How many threads a call takes, and what they divide: an estimate of each way's time, from the work and the weights of the
 * plan's nodes. Rows need no meeting, but every worker then reads all weights; units leave each worker its part of the
 * weights, which may fit its own cache when the whole does not, for one meeting at every step.
 *
 * The constants are measured on the machine of docs/benchmarks (docs/experiments.md, "Threads"): what counts is which way
 * is faster, not by how much, and a second thread must promise a good part to be woken. */
#include "plan.h"

#include <math.h>

#define LEAST_WORK 3e5     /* multiply-adds below which no second thread was ever worth its waking */
#define WAKE_NS 3000.0     /* a parallel region */
#define MEET_NS 250.0      /* a meeting of a team */
#define CELL_NS 50.0       /* from a step's sums to its state: sigmoid, multiply-add, tanh */
#define WORTH 0.85         /* of one thread's time, for more threads to be used */
#define MOST_THREADS 64    /* that may be asked for on any machine */

/* Multiply-adds per ns of a full tile, and bytes per ns from each cache to one core */
#define L1_BYTES_NS 300.0
#define L2_BYTES_NS 140.0
#define L3_BYTES_NS 45.0

static double tile_rate(const sc_plan *plan)
{
    return plan->kernels->width == 16 ? 100.0 : plan->kernels->width == 8 ? 50.0 : 4.0;
}

static double max_double(double a, double b)
{
    return a > b ? a : b;
}

/* ns to read so many bytes once more: what fits a cache comes from there, also of a larger sweep that alternates. */
static double sweep_ns(double bytes)
{
    const sc_cpu *cpu = sc_cpu_info();
    const double l1 = cpu->l1d_bytes > 0 ? 0.75 * (double)cpu->l1d_bytes : 24e3;
    const double l2 = cpu->l2_bytes > 0 ? 0.75 * (double)cpu->l2_bytes : 384e3;
    if (bytes <= l1) {
        return bytes / L1_BYTES_NS;
    }
    return bytes <= l2 ? bytes / L2_BYTES_NS : l2 / L2_BYTES_NS + (bytes - l2) / L3_BYTES_NS;
}

/* ns of a node for so many rows, divided among `members` */
static double node_ns(const sc_plan *plan, const sc_node *node, double rows, double time, double members)
{
    const double frames = node->per_frame ? time : 1.0;
    if (node->swept == 0) {
        return frames * rows * node->work / (node->divides ? members : 1.0) / tile_rate(plan);
    }
    /* the member with the most panels */
    const double panels = (double)node->panels, share = node->divides ? panels / ceil(panels / members) : 1.0;
    const double work = rows * node->work / share / tile_rate(plan);
    /* the input's share at the tile's rate; the state's as fast as its weights come, when the rows are few */
    const double bytes = (double)node->swept / share;
    const double recurrent = rows * bytes / sizeof(float) / tile_rate(plan);
    const double step = work - recurrent + max_double(recurrent, sweep_ns(bytes)) + CELL_NS;
    return frames * (step + (share > 1.0 ? MEET_NS * (double)node->meetings : 0.0));
}

/* ns of a call in which each team has so many rows. The nodes of a stage are dealt out to the members. */
static double call_ns(const sc_plan *plan, double rows, double time, size_t members)
{
    double total = 0.0;
    for (size_t n = 0; n < plan->n_nodes;) {
        const size_t stage = plan->nodes[n].stage;
        size_t end = n, busy = 0;
        for (; end < plan->n_nodes && plan->nodes[end].stage == stage; end++) {
            busy += plan->nodes[end].work > 0.0;
        }
        const double each = busy > 0 && busy < members ? (double)(members / busy) : 1.0;
        double sum = 0.0, longest = 0.0;
        for (; n < end; n++) {
            const double ns = node_ns(plan, &plan->nodes[n], rows, time, each);
            sum += ns;
            longest = max_double(longest, ns);
        }
        total += members == 1 ? sum : MEET_NS + max_double(longest, sum * each / (double)members);
    }
    return total;
}

int sc_plan_limit(const sc_plan *plan)
{
    const int cores = sc_cpu_info()->cores, most = cores > MOST_THREADS ? cores : MOST_THREADS;
    const int asked = plan->threads > 0 ? plan->threads : sc_get_num_threads();
    return asked < most ? asked : most;
}

bool sc_plan_divides(const sc_plan *plan, size_t batch, size_t time)
{
    return plan->team > 0 || (batch > 0 && plan->work * (double)batch * (double)(time > 0 ? time : 1) >= LEAST_WORK);
}

size_t sc_plan_rows_alone(const sc_plan *plan, size_t time)
{
    if (plan->team > 0) {
        return 0;
    }
    const double rows = LEAST_WORK / (plan->work * (double)(time > 0 ? time : 1));
    return plan->threads == 1 || !(rows < 1e9) ? SIZE_MAX : (size_t)rows;
}

sc_schedule sc_plan_schedule_of(const sc_plan *plan, size_t batch, size_t time, size_t limit)
{
    const double T = time > 0 ? (double)time : 1.0;
    if (plan->team > 0 && limit == (size_t)plan->threads) {
        return (sc_schedule){.threads = limit, .team = (size_t)plan->team};
    }
    sc_schedule best = {.threads = 1, .team = 1};
    if (limit == 1 || !sc_plan_divides(plan, batch, time)) {
        return best;
    }
    double best_ns = WORTH * call_ns(plan, (double)batch, T, 1);
    for (size_t team = 1; team <= limit; team = team < limit && 2 * team > limit ? limit : 2 * team) {
        size_t teams = limit / team < batch ? limit / team : batch;
        for (; teams > 0; teams /= 2) {
            const size_t threads = teams * team, rows = (batch + teams - 1) / teams;
            const double ns = threads > 1 ? WAKE_NS + call_ns(plan, (double)rows, T, team) : best_ns;
            if (ns < best_ns) {
                best_ns = ns;
                best = (sc_schedule){.threads = threads, .team = team};
            }
        }
    }
    return best;
}

sc_schedule sc_plan_schedule(const sc_plan *plan, size_t batch, size_t time)
{
    return plan != NULL ? sc_plan_schedule_of(plan, batch, time, (size_t)sc_plan_limit(plan)) : (sc_schedule){0, 0};
}
