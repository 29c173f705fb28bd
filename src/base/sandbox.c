/* Landlock and seccomp: see sandbox.h. The kernel's numbers are spelt out, as the headers of older systems lack some.
 */
#define _GNU_SOURCE 1
#include "base/sandbox.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- files: landlock ---- */

enum {
    SYS_CREATE_RULESET = 444, /* the same on all architectures */
    SYS_ADD_RULE = 445,
    SYS_RESTRICT_SELF = 446,
    ASK_VERSION = 1,
    RULE_PATH_BENEATH = 1,
};

/* Rights, by the bit that the kernel gives them. */
#define EXECUTE     (UINT64_C(1) << 0)
#define WRITE_FILE  (UINT64_C(1) << 1)
#define READ_FILE   (UINT64_C(1) << 2)
#define READ_DIR    (UINT64_C(1) << 3)
#define REMOVE_FILE (UINT64_C(1) << 5)
#define MAKE_REMOVE (((UINT64_C(1) << 13) - 1) & ~(EXECUTE | WRITE_FILE | READ_FILE | READ_DIR)) /* bits 4 to 12 */
#define REFER       (UINT64_C(1) << 13)                                                          /* since version 2 */
#define TRUNCATE    (UINT64_C(1) << 14)                                                          /* since version 3 */
#define BIND_TCP    (UINT64_C(1) << 0)                                                           /* since version 4 */
#define OF_FILES    (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE)

struct ruleset {
    uint64_t files, net;
};

struct path_rule {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

static void allow(int rules, const char *path, uint64_t rights)
{
    struct stat st;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct path_rule rule = {.allowed = S_ISDIR(st.st_mode) ? rights : rights & OF_FILES, .parent = fd};
    syscall(SYS_ADD_RULE, rules, RULE_PATH_BENEATH, &rule, 0);
    close(fd);
}

static bool restrict_files(const struct pn_sandbox *s)
{
    long version = syscall(SYS_CREATE_RULESET, NULL, 0, ASK_VERSION);
    if (version < 2) /* the first cannot rename from one folder to another */
        return false;
    uint64_t write = WRITE_FILE | READ_FILE | READ_DIR | MAKE_REMOVE | REFER | (version >= 3 ? TRUNCATE : 0);
    struct ruleset handled = {.files = write | EXECUTE, .net = version >= 4 ? BIND_TCP : 0};
    int rules = (int)syscall(SYS_CREATE_RULESET, &handled, version >= 4 ? sizeof handled : sizeof handled.files, 0);
    if (rules < 0)
        return false;
    for (size_t i = 0; s->read && s->read[i]; i++)
        allow(rules, s->read[i], READ_FILE | READ_DIR);
    for (size_t i = 0; s->write && s->write[i]; i++)
        allow(rules, s->write[i], write);
    if (s->remove_in)
        allow(rules, s->remove_in, REMOVE_FILE);
    bool done = syscall(SYS_RESTRICT_SELF, rules, 0) == 0;
    close(rules);
    return done;
}

/* ---- system calls: seccomp ---- */

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef OWN_ARCH

/* The leak sanitizer traces its own process at the end. */
#if defined(__SANITIZE_ADDRESS__)
#define TRACES_ITSELF 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TRACES_ITSELF 1
#endif
#endif

static const uint16_t denied[] = {
    SYS_execve,
    SYS_execveat,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_kexec_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
    SYS_acct,
    SYS_quotactl,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_personality,
    425, /* io_uring_setup: its operations pass no filter */
    428,
    429,
    430,
    431,
    432,
    433, /* open_tree, move_mount, fsopen, fsconfig, fsmount, fspick */
    438, /* pidfd_getfd */
    442, /* mount_setattr */
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
#endif
#ifndef TRACES_ITSELF
    SYS_ptrace,
#endif
};

enum { N_DENIED = sizeof denied / sizeof *denied, HEAD = 5, MAX_FILTER = HEAD + N_DENIED + 2 };

static bool restrict_calls(void)
{
    struct sock_filter code[MAX_FILTER];
    unsigned n = 0;
    const unsigned arch = offsetof(struct seccomp_data, arch), number = offsetof(struct seccomp_data, nr);
    /* another architecture, or x32, has other numbers */
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arch);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, N_DENIED + 1, 0);
    for (unsigned i = 0; i < N_DENIED; i++)
        code[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i], (unsigned char)(N_DENIED - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

#else

static bool restrict_calls(void)
{
    return false;
}

#endif

bool pn_sandbox_exists(void)
{
    return true;
}

pantry_status pn_sandbox_enter(const struct pn_sandbox *sandbox, struct pn_sandbox_held *held, struct pantry_error *err)
{
    *held = (struct pn_sandbox_held){false, false};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return pn_fail(err, PANTRY_IO, "cannot give up rights: %s", strerror(errno));
    held->files = restrict_files(sandbox);
    held->calls = restrict_calls();
    return PANTRY_OK;
}

#else

bool pn_sandbox_exists(void)
{
    return false;
}

pantry_status pn_sandbox_enter(const struct pn_sandbox *sandbox, struct pn_sandbox_held *held, struct pantry_error *err)
{
    (void)sandbox, (void)err;
    *held = (struct pn_sandbox_held){false, false};
    return PANTRY_OK;
}

#endif
