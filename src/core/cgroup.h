/* How much processor time the control group of this process may use. */
#ifndef SC_CGROUP_H
#define SC_CGROUP_H

/* Whole cores that the CPU quota allows, at least 1; 0 where there is no quota. `groups` is the text of /proc/self/cgroup, `root`
 * where control groups are mounted: /sys/fs/cgroup. */
int sc_cgroup_cores(const char *groups, const char *root);

/* The same for this process, read anew. */
int sc_own_cgroup_cores(void);

#endif
