/* CPU quotas of control groups (Linux; elsewhere there are none): a container with half a core shows all of the machine's, and
 * threads beyond the quota only spend it waiting for each other.
 *
 *     version 2:  <root><group>/cpu.max                 "<quota or max> <period>"
 *     version 1:  <root>/cpu<group>/cpu.cfs_quota_us    "<quota or -1>", and cpu.cfs_period_us
 *
 * A group is bound by the quotas of the groups around it too. */
#include "cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4096

/* The start of a small file as text; false when there is none. */
static int read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    const size_t count = fread(text, 1, size - 1, file);
    fclose(file);
    text[count] = '\0';
    return count > 0;
}

static int whole_cores(double quota, double period)
{
    if (!(quota > 0) || !(period > 0) || quota / period > 1e6) {
        return 0;
    }
    return quota < period ? 1 : (int)(quota / period);
}

/* Of one group, without those around it. */
static int group_cores(const char *folder, int version)
{
    char path[PATH_BYTES + 32], text[64], period[64];
    if (version == 2) {
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        char *rest = NULL;
        const double quota = read_text(path, text, sizeof text) ? strtod(text, &rest) : 0; /* "max" is no number */
        return rest != NULL ? whole_cores(quota, strtod(rest, NULL)) : 0;
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!read_text(path, text, sizeof text)) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    return read_text(path, period, sizeof period) ? whole_cores(strtod(text, NULL), strtod(period, NULL)) : 0;
}

static int least(int a, int b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Of a group and all around it. */
static int nested_cores(const char *mount, const char *group, size_t length, int version)
{
    char folder[PATH_BYTES];
    const int written = snprintf(folder, sizeof folder, "%s%.*s", mount, (int)length, group);
    if (written < 0 || (size_t)written >= sizeof folder) {
        return 0;
    }
    int cores = group_cores(folder, version);
    for (char *slash = strrchr(folder, '/'); slash != NULL && (size_t)(slash - folder) >= strlen(mount);
         slash = strrchr(folder, '/')) {
        *slash = '\0';
        cores = least(cores, group_cores(folder, version));
    }
    return cores;
}

/* Whether "cpu" is among the controllers of a version 1 line: "4:cpu,cpuacct:/group" */
static int has_cpu(const char *controllers, size_t length)
{
    for (size_t i = 0; i + 3 <= length; i++) {
        const int begins = i == 0 || controllers[i - 1] == ',', ends = i + 3 == length || controllers[i + 3] == ',';
        if (begins && ends && memcmp(controllers + i, "cpu", 3) == 0) {
            return 1;
        }
    }
    return 0;
}

int sc_cgroup_cores(const char *groups, const char *root)
{
    int cores = 0;
    for (const char *line = groups; *line != '\0';) {
        const char *end = line + strcspn(line, "\n");
        const char *first = memchr(line, ':', (size_t)(end - line));
        const char *second = first != NULL ? memchr(first + 1, ':', (size_t)(end - first - 1)) : NULL;
        if (second != NULL) {
            const size_t controllers = (size_t)(second - first - 1), group = (size_t)(end - second - 1);
            if (controllers == 0) {
                cores = least(cores, nested_cores(root, second + 1, group, 2));
            } else if (has_cpu(first + 1, controllers)) {
                char mount[PATH_BYTES];
                snprintf(mount, sizeof mount, "%s/cpu", root);
                cores = least(cores, nested_cores(mount, second + 1, group, 1));
            }
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return cores;
}

int sc_own_cgroup_cores(void)
{
#if defined(__linux__)
    char groups[PATH_BYTES];
    return read_text("/proc/self/cgroup", groups, sizeof groups) ? sc_cgroup_cores(groups, "/sys/fs/cgroup") : 0;
#else
    return 0;
#endif
}
