/* sc_cgroup_cores over trees of control groups made of ordinary files, of both versions: nested, without a quota, malformed,
 * longer than any buffer. What this machine's own control group says is not tested: nobody knows it. */
#if !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE /* mkdir */
#endif
#include "cgroup.h"
#include "check.h"

#include <sys/stat.h>

static char root[1024];
static int trees; /* each case has a fresh one */

static void new_tree(const char *folder)
{
    snprintf(root, sizeof root, "%s/%d", folder, trees++);
    CHECK(mkdir(root, 0700) == 0, "%s", root);
}

/* Writes a file below root, and the folders on the way. */
static void put(const char *path, const char *text)
{
    char whole[4096];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700); /* or it is there */
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    CHECK(file != NULL, "%s", whole);
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0, "%s", whole);
}

static void expect(const char *groups, int cores)
{
    const int found = sc_cgroup_cores(groups, root);
    CHECK(found == cores, "groups \"%.60s\": expected %d, found %d", groups, cores, found);
}

static void version_2(const char *folder)
{
    static const struct {
        const char *text;
        int cores;
    } cases[] = {
        {"200000 100000\n", 2},  {"250000 100000\n", 2},  {"50000 100000\n", 1}, {"100000 100000\n", 1},
        {"1000 1000000\n", 1},   {"6400000 100000\n", 64}, {"max 100000\n", 0},   {"max\n", 0},
        {"", 0},                 {"\n", 0},               {"-1 100000\n", 0},    {"0 100000\n", 0},
        {"200000\n", 0},         {"200000 0\n", 0},       {"200000 -5\n", 0},    {"two 100000\n", 0},
        {"200000 many\n", 0},    {"nan 100000\n", 0},     {"200000 nan\n", 0},   {"inf 100000\n", 0},
        {"1e300 1\n", 0},        {"9999999999999999999999999 1\n", 0},
        {"99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999 100000\n", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        new_tree(folder);
        put("a/cpu.max", cases[i].text);
        expect("0::/a\n", cases[i].cores);
        expect("0::/a", cases[i].cores);
        expect("0::/a/inner/without/quota\n", cases[i].cores);
        expect("0::/b\n", 0);
    }
    new_tree(folder);
    put("a/b/c/cpu.max", "800000 100000\n");
    expect("0::/a/b/c\n", 8);
    put("a/b/cpu.max", "max 100000\n");
    expect("0::/a/b/c\n", 8);
    put("a/cpu.max", "300000 100000\n"); /* the groups around bind too */
    expect("0::/a/b/c\n", 3);
    put("cpu.max", "500000 100000\n"); /* the root, as a container sees its own */
    expect("0::/a/b/c\n", 3);
    expect("0::/\n", 5);
    expect("0::\n", 5);
    expect("0::/../elsewhere\n", 5);
    put("a/cpu.max", "900000 100000\n");
    expect("0::/a\n", 5);
}

static void version_1(const char *folder)
{
    new_tree(folder);
    put("cpu/jobs/one/cpu.cfs_quota_us", "400000\n");
    expect("4:cpu,cpuacct:/jobs/one\n", 0); /* no period */
    put("cpu/jobs/one/cpu.cfs_period_us", "100000\n");
    expect("4:cpu,cpuacct:/jobs/one\n", 4);
    expect("4:cpuacct,cpu:/jobs/one\n", 4);
    expect("4:a,cpu,b:/jobs/one\n", 4);
    expect("9:memory:/jobs/one\n4:cpu:/jobs/one\n1:name=systemd:/jobs/one\n", 4);
    expect("3:cpuset:/jobs/one\n2:cpuacct:/jobs/one\n1:xcpu:/jobs/one\n1:cpu2:/jobs/one\n", 0);
    put("cpu/jobs/cpu.cfs_quota_us", "-1\n");
    put("cpu/jobs/cpu.cfs_period_us", "100000\n");
    expect("4:cpu:/jobs/one\n", 4);
    expect("4:cpu:/jobs\n", 0);
    put("cpu/cpu.cfs_quota_us", "150000\n");
    put("cpu/cpu.cfs_period_us", "100000\n");
    expect("4:cpu:/jobs/one\n", 1);
    expect("4:cpu:/a/path/of/another/namespace\n", 1);
    put("jobs/cpu.max", "200000 100000\n"); /* both versions at once */
    expect("0::/jobs\n", 2);
    expect("4:cpu:/jobs\n0::/jobs\n", 1);
    expect("0::/jobs\n4:cpu:/jobs\n", 1);
}

static void malformed(const char *folder)
{
    new_tree(folder);
    put("cpu.max", "300000 100000\n");
    static const char *const lines[] = {"", "\n", "\n\n\n", ":", "0", "0:", "cpu", "0:cpu", "no colons at all\n", ":cpu\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        expect(lines[i], 0);
    }
    expect("rubbish\n0::/\nrubbish", 3);
    expect("::", 3);
    /* Longer than a path can be, than a line can be, than a file can be. */
    size_t bytes = 0;
    char *longest = repeat("/long", 20000, &bytes), *text = malloc(bytes + 16);
    CHECK(text != NULL, "%zu", bytes);
    snprintf(text, bytes + 16, "0::%s\n0::/\n", longest);
    expect(text, 3);
    for (size_t end = 3990; end < 4110; end++) { /* through the buffer's end */
        const size_t length = end - strlen(root);
        longest[length] = '\0';
        snprintf(text, bytes + 16, "0::%s", longest);
        const int found = sc_cgroup_cores(text, root);
        CHECK(found == (end < 4096 ? 3 : 0), "a path of %zu bytes: %d", end, found);
        longest[length] = "/long"[length % 5];
    }
    snprintf(text, bytes + 16, "1:%s", longest);
    expect(text, 0);
    free(longest);
    free(text);
    char *lines_ = repeat("0::/\n", 10000, &bytes);
    expect(lines_, 3);
    free(lines_);
    char *large = repeat("300000 100000 ", 100000, &bytes);
    put("large/cpu.max", large);
    expect("0::/large\n", 3);
    free(large);
    CHECK(sc_own_cgroup_cores() >= 0, "its own");
}

int main(int count, char **arguments)
{
    CHECK(count == 2, "the argument is an empty folder");
    version_2(arguments[1]);
    version_1(arguments[1]);
    malformed(arguments[1]);
    printf("test_cgroup: all passed\n");
    return 0;
}
