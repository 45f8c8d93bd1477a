/* What hostile programs try, one function each. Exit code 0: all was refused; 1: something worked, and stdout says what.
 * Static, without libraries, so that it runs in any sandbox: attack NAME [ARGUMENTS]. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int escapes = 0;

static void tried(const char *what, int worked) {
    if (worked) {
        escapes++;
        printf("ESCAPED: %s\n", what);
    } else {
        printf("refused: %s (%s)\n", what, strerror(errno));
    }
    fflush(stdout);
}

static int opens(const char *path, int flags) {
    int descriptor = open(path, flags | O_NONBLOCK | O_CLOEXEC, 0600);
    if (descriptor >= 0) close(descriptor);
    return descriptor >= 0;
}

/* --- files --- */

/* read-files PATH...: by the path itself, and by ways around. */
static void read_files(int count, char **paths) {
    const char *ways[] = {"", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/../../../..", "/iexec_in/../../../..",
                          "/iexec_out/../../../.."};
    for (int i = 0; i < count; i++)
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            char path[4096];
            snprintf(path, sizeof path, "%s%s", ways[way], paths[i]);
            tried(path, opens(path, O_RDONLY));
        }
}

static char canary[256];

static int holds_canary(const char *path) {
    static char data[1 << 16];
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) return 0;
    ssize_t length = read(descriptor, data, sizeof data);
    close(descriptor);
    return length > 0 && memmem(data, length, canary, strlen(canary)) != NULL;
}

static void search(const char *folder, int depth) {
    static const char *skipped[] = {"/usr", "/proc", "/sys", "/dev", "/lib", "/bin", "/sbin", "/lib64"};
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
        if (!strcmp(folder, skipped[i])) return;
    DIR *listing = depth > 0 ? opendir(folder) : NULL;
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        char path[4096];
        struct stat about;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(path, sizeof path, "%s/%s", strcmp(folder, "/") ? folder : "", entry->d_name);
        if (lstat(path, &about)) continue;
        if (S_ISDIR(about.st_mode)) search(path, depth - 1);
        else if (S_ISREG(about.st_mode) && holds_canary(path)) tried(path, 1);
    }
    if (listing) closedir(listing);
}

/* find-secret YRANAC: the canary backwards, so that this program's own command line does not hold it. */
static void find_secret(const char *backwards) {
    size_t length = strlen(backwards);
    for (size_t i = 0; i < length; i++) canary[i] = backwards[length - 1 - i];
    search("/", 8);
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
        const char *files[] = {"environ", "cmdline", "mountinfo"};
        for (int i = 0; i < 3; i++) {
            char path[512];
            snprintf(path, sizeof path, "/proc/%s/%s", entry->d_name, files[i]);
            if (holds_canary(path)) tried(path, 1);
        }
    }
    errno = ENOENT;
    tried("a secret of others", 0);
}

static void write_inputs(void) {
    tried("write an input", opens("/iexec_in/input.txt", O_WRONLY));
    tried("cut an input", truncate("/iexec_in/input.txt", 0) == 0);
    tried("remove an input", unlink("/iexec_in/input.txt") == 0);
    tried("rename an input", rename("/iexec_in/input.txt", "/iexec_in/other.txt") == 0);
    tried("add an input", opens("/iexec_in/new.txt", O_WRONLY | O_CREAT));
    tried("chmod an input", chmod("/iexec_in/input.txt", 0777) == 0);
    tried("link an input into the output", link("/iexec_in/input.txt", "/iexec_out/input.txt") == 0);
    tried("remount inputs", mount(NULL, "/iexec_in", NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
}

static void write_system(void) {
    const char *places[] = {"/new", "/usr/new", "/usr/bin/new", "/etc/new", "/dev/new", "/lib/new", "/app/new"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        tried(places[i], opens(places[i], O_WRONLY | O_CREAT));
}

/* --- network --- */

/* connect TCP-PORT UDP-PORT UNIX-PATH ABSTRACT-NAME ADDRESS...: the machine that listens says whether anything came. */
static void connect_out(int count, char **arguments) {
    const char *addresses[16] = {"127.0.0.1"};
    int known = 1;
    for (int i = 4; i < count && known < 16; i++) addresses[known++] = arguments[i];
    for (int i = 0; i < known; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[0]))};
        inet_pton(AF_INET, addresses[i], &to.sin_addr);
        int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        int answer = tcp < 0 ? -1 : connect(tcp, (struct sockaddr *)&to, sizeof to);
        if (answer < 0 && errno == EINPROGRESS) {
            usleep(300000);
            answer = connect(tcp, (struct sockaddr *)&to, sizeof to);
        }
        tried("TCP", answer == 0);
        to.sin_port = htons(atoi(arguments[1]));
        int udp = socket(AF_INET, SOCK_DGRAM, 0);
        if (udp >= 0) sendto(udp, "out", 3, 0, (struct sockaddr *)&to, sizeof to);
        struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(arguments[0]))};
        six.sin6_addr.s6_addr[15] = 1;
        int tcp6 = socket(AF_INET6, SOCK_STREAM, 0);
        tried("TCP over IPv6", tcp6 >= 0 && connect(tcp6, (struct sockaddr *)&six, sizeof six) == 0);
    }
    for (int hidden = 0; hidden < 2; hidden++) {
        struct sockaddr_un place = {.sun_family = AF_UNIX};
        const char *name = arguments[2 + hidden];
        strncpy(place.sun_path + hidden, name, sizeof place.sun_path - 2);
        int local = socket(AF_UNIX, SOCK_STREAM, 0);
        socklen_t length = offsetof(struct sockaddr_un, sun_path) + hidden + strlen(name);
        tried(hidden ? "abstract unix socket" : "unix socket",
              local >= 0 && connect(local, (struct sockaddr *)&place, length) == 0);
    }
    int families[] = {AF_PACKET, AF_ALG, AF_VSOCK, AF_BLUETOOTH, AF_KEY, AF_CAN};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char what[64];
        snprintf(what, sizeof what, "socket of family %d", families[i]);
        tried(what, socket(families[i], SOCK_RAW, 0) >= 0 || socket(families[i], SOCK_STREAM, 0) >= 0);
    }
    tried("raw socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0);
}

/* --- bombs --- */

/* fork-bomb MOST: start processes until one is refused. */
static void fork_bomb(int most) {
    static pid_t children[4096];
    int made = 0;
    while (made < 4 * most && made < 4096) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            pause();
            _exit(0);
        }
        children[made++] = child;
    }
    char what[64];
    snprintf(what, sizeof what, "more than %d processes", most);
    tried(what, made > most);
    for (int i = 0; i < made; i++) kill(children[i], SIGKILL);
}

static void fork_for_ever(void) {
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        fork();
        setsid();
    }
}

static void memory_bomb(void) {
    for (;;) {
        char *more = malloc(1 << 22);
        if (more) memset(more, 7, 1 << 22);
    }
}

static void fill(const char *path) {
    static char data[1 << 20];
    int descriptor = open(path, O_WRONLY | O_CREAT, 0600);
    if (descriptor < 0) return;
    while (write(descriptor, data, sizeof data) > 0) {}
    close(descriptor);
}

/* scratch-bomb MOST-MIB FOLDER...: memory behind folders, one file after another until one stays empty. */
static void scratch_bomb(int most, int count, char **folders) {
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < count; i++) {
        long long total = 0;
        for (int number = 0; number < 1000; number++) {
            char path[4096];
            struct stat about = {0};
            snprintf(path, sizeof path, "%s/fill-%d", folders[i], number);
            fill(path);
            if (stat(path, &about) || about.st_size == 0) break;
            total += about.st_size;
            if (total >> 20 > most) break;
        }
        tried(folders[i], total >> 20 > most);
    }
}

static void disk_bomb(void) {
    signal(SIGXFSZ, SIG_IGN);
    for (int number = 0;; number++) {
        char path[128];
        snprintf(path, sizeof path, "/iexec_out/fill-%d", number);
        fill(path);
    }
}

/* hidden-bomb: files that have no name any more, and stay open. */
static void hidden_bomb(void) {
    static char data[1 << 20];
    signal(SIGXFSZ, SIG_IGN);
    for (int number = 0;; number++) {
        int descriptor = open("/iexec_out/hidden", O_RDWR | O_CREAT, 0600);
        unlink("/iexec_out/hidden");
        if (descriptor < 0) {
            pause();
        }
        while (write(descriptor, data, sizeof data) > 0) usleep(1000);
    }
}

static void file_bomb(void) {
    for (int number = 0;; number++) {
        char path[128];
        snprintf(path, sizeof path, "/iexec_out/%d", number);
        int descriptor = open(path, O_WRONLY | O_CREAT, 0600);
        if (descriptor >= 0) close(descriptor);
    }
}

static void log_bomb(void) {
    static char data[1 << 16];
    memset(data, 'x', sizeof data);
    for (;;) {
        if (write(1, data, sizeof data) < 0) return;
        if (write(2, data, sizeof data) < 0) return;
    }
}

/* --- rights --- */

static void become_root(void) {
    tried("setuid(0)", setuid(0) == 0 && geteuid() == 0);
    tried("setresuid(0)", setresuid(0, 0, 0) == 0 && geteuid() == 0);
    tried("setgid(0)", setgid(0) == 0 && getegid() == 0);
    gid_t groups[] = {0};
    tried("setgroups", setgroups(1, groups) == 0);
    const char *tools[] = {"/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/usr/bin/sudo", "/usr/bin/newuidmap"};
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
        struct stat about;
        if (stat(tools[i], &about) || !(about.st_mode & S_ISUID)) continue;
        pid_t child = fork();
        if (child == 0) {
            /* With the right of its owner it could write to the root's files; stdout tells its effective user. */
            char *words[] = {(char *)tools[i], "--version", NULL};
            execv(tools[i], words);
            _exit(99);
        }
        char path[64], status[4096] = "";
        snprintf(path, sizeof path, "/proc/%d/status", child);
        usleep(20000);
        int descriptor = open(path, O_RDONLY);
        if (descriptor >= 0) {
            ssize_t length = read(descriptor, status, sizeof status - 1);
            status[length > 0 ? length : 0] = 0;
            close(descriptor);
        }
        unsigned real = 1, effective = 1;
        char *line = strstr(status, "Uid:");
        if (line) sscanf(line, "Uid:\t%u\t%u", &real, &effective);
        tried(tools[i], line && effective == 0 && real != 0);
        waitpid(child, NULL, 0);
    }
    int made = open("/iexec_out/suid", O_WRONLY | O_CREAT, 0700);
    if (made >= 0) close(made);
    chmod("/iexec_out/suid", 06777);
}

/* trace PID: the agent's number on its own machine. */
static void trace(int agent) {
    int targets[] = {1, getppid(), agent};
    for (int i = 0; i < 3; i++) {
        char path[64], byte;
        if (targets[i] <= 0 || targets[i] == getpid()) continue;
        tried("PTRACE_ATTACH", ptrace(PTRACE_ATTACH, targets[i], 0, 0) == 0);
        tried("PTRACE_SEIZE", ptrace(PTRACE_SEIZE, targets[i], 0, 0) == 0);
        struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
        tried("process_vm_readv", syscall(SYS_process_vm_readv, targets[i], &here, 1UL, &there, 1UL, 0UL) >= 0);
        tried("process_vm_writev", syscall(SYS_process_vm_writev, targets[i], &here, 1UL, &there, 1UL, 0UL) >= 0);
        snprintf(path, sizeof path, "/proc/%d/mem", targets[i]);
        tried(path, opens(path, O_RDWR));
        snprintf(path, sizeof path, "/proc/%d/environ", targets[i]);
        tried(path, opens(path, O_RDONLY) && targets[i] == agent);
    }
    tried("pidfd_getfd", syscall(438, 0, 0, 0) >= 0);
}

static int nothing(void *unused) {
    (void)unused;
    return 0;
}

static void mounts(void) {
    static char stack[65536];
    mkdir("/tmp/place", 0700);
    tried("mount tmpfs", mount("tmpfs", "/tmp/place", "tmpfs", 0, NULL) == 0);
    tried("bind mount", mount("/", "/tmp/place", NULL, MS_BIND, NULL) == 0);
    tried("remount /usr", mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
    tried("umount /proc", umount2("/proc", MNT_DETACH) == 0);
    tried("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp/place") == 0);
    tried("chroot", chroot("/tmp") == 0);
    int kinds[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char what[64];
        snprintf(what, sizeof what, "unshare(%#x)", kinds[i]);
        tried(what, unshare(kinds[i]) == 0);
        snprintf(what, sizeof what, "clone(%#x)", kinds[i]);
        tried(what, clone(nothing, stack + sizeof stack, kinds[i] | SIGCHLD, NULL) >= 0);
    }
    unsigned long long wanted[11] = {CLONE_NEWUSER};
    tried("clone3", syscall(435, wanted, sizeof wanted) >= 0);
    int own = open("/proc/self/ns/mnt", O_RDONLY);
    tried("setns", own >= 0 && setns(own, 0) == 0);
    tried("fsopen", syscall(430, "tmpfs", 0) >= 0);
    tried("open_tree", syscall(428, -100, "/", 1) >= 0);
    tried("mount_setattr", syscall(442, -100, "/usr", 0, wanted, 32) == 0);
}

static void kernel(void) {
    static char zeros[256];
    struct {
        const char *name;
        long number, first, second;
    } calls[] = {
        {"bpf", SYS_bpf, 0, (long)zeros},
        {"perf_event_open", SYS_perf_event_open, (long)zeros, 0},
        {"kexec_load", SYS_kexec_load, 0, 0},
        {"init_module", SYS_init_module, (long)zeros, 0},
        {"finit_module", SYS_finit_module, 0, (long)zeros},
        {"delete_module", SYS_delete_module, (long)"nothing", 0},
        {"add_key", SYS_add_key, (long)"user", (long)"name"},
        {"keyctl", SYS_keyctl, 0, -3},
        {"request_key", SYS_request_key, (long)"user", (long)"name"},
        {"userfaultfd", SYS_userfaultfd, 0, 0},
        {"io_uring_setup", 425, 8, (long)zeros},
        {"name_to_handle_at", SYS_name_to_handle_at, -100, (long)"/"},
        {"open_by_handle_at", SYS_open_by_handle_at, -100, (long)zeros},
        {"swapon", SYS_swapon, (long)"/iexec_out/x", 0},
        {"reboot", SYS_reboot, 0xfee1dead, 672274793},
        {"acct", SYS_acct, (long)"/iexec_out/x", 0},
        {"sethostname", SYS_sethostname, (long)"mine", 4},
        {"setdomainname", SYS_setdomainname, (long)"mine", 4},
        {"quotactl", SYS_quotactl, 0x80000100, (long)"/"},
        {"settimeofday", SYS_settimeofday, (long)zeros, 0},
        {"clock_settime", SYS_clock_settime, 0, (long)zeros},
        {"syslog", SYS_syslog, 3, (long)zeros},
        {"vhangup", SYS_vhangup, 0, 0},
        {"fanotify_init", SYS_fanotify_init, 0, 0},
        {"lookup_dcookie", SYS_lookup_dcookie, 0, 0},
        {"memfd_secret", 447, 0, 0},
        {"process_madvise", 440, 0, 0},
        {"kcmp", SYS_kcmp, 1, 1},
        {"migrate_pages", SYS_migrate_pages, 0, 0},
        {"personality(READ_IMPLIES_EXEC)", SYS_personality, 0x0400000, 0},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        tried(calls[i].name, syscall(calls[i].number, calls[i].first, calls[i].second, 16L, 0L, 0L, 0L) >= 0);
    const char *written[] = {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches",
                             "/proc/sysrq-trigger", "/proc/sys/net/ipv4/ip_forward", "/proc/1/oom_score_adj",
                             "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/fs/cgroup/cgroup.procs",
                             "/proc/irq/default_smp_affinity"};
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        /* In a container the program itself may be the first process. */
        if (getpid() == 1 && !strncmp(written[i], "/proc/1/", 8)) continue;
        tried(written[i], opens(written[i], O_WRONLY));
    }
    const char *read_only[] = {"/proc/kcore", "/proc/kmsg", "/proc/kpagemap", "/sys/kernel/debug/tracing/trace",
                               "/sys/kernel/security/lockdown"};
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) tried(read_only[i], opens(read_only[i], O_RDONLY));
}

static void devices(void) {
    struct {
        mode_t kind;
        int major, minor;
    } nodes[] = {{S_IFCHR, 1, 1}, {S_IFCHR, 1, 3}, {S_IFBLK, 8, 0}, {S_IFBLK, 254, 0}, {S_IFCHR, 10, 232}};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        unlink("/tmp/node");
        tried("mknod", mknod("/tmp/node", nodes[i].kind | 0666, makedev(nodes[i].major, nodes[i].minor)) == 0);
    }
    const char *paths[] = {"/dev/mem", "/dev/kmem", "/dev/port", "/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/kvm",
                           "/dev/fuse", "/dev/net/tun", "/dev/loop-control", "/dev/mapper/control", "/dev/kmsg",
                           "/dev/console", "/dev/vhost-net", "/dev/dri/card0", "/dev/nvidia0", "/dev/snd/seq",
                           "/dev/input/event0", "/dev/hwrng", "/dev/rtc0", "/dev/watchdog"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) tried(paths[i], opens(paths[i], O_RDONLY));
    struct stat before, after;
    stat("/dev/null", &before);
    int changed = chmod("/dev/null", 0600) == 0 && stat("/dev/null", &after) == 0 && after.st_mode != before.st_mode;
    tried("chmod /dev/null", changed);
    char key = 'x';
    tried("TIOCSTI", ioctl(0, TIOCSTI, &key) == 0 || ioctl(2, TIOCSTI, &key) == 0);
    tried("a controlling terminal", opens("/dev/tty", O_RDWR));
}

/* signals PID: the agent's number on its own machine; that it lives on is seen there. */
static void signals(int agent) {
    signal(SIGTERM, SIG_IGN);
    kill(agent, SIGKILL);
    kill(-agent, SIGKILL);
    kill(getppid(), SIGTERM);
    kill(1, SIGTERM);
    kill(-1, SIGTERM);
    errno = ESRCH;
    tried("the agent is not seen", kill(agent, 0) == 0 && agent != getpid() && agent > 64);
}

/* results PATH: outputs that would lead whoever collects them out of their folder. */
static void results(const char *secret) {
    symlink(secret, "/iexec_out/link");
    symlink("/", "/iexec_out/root");
    symlink("../../../../../..", "/iexec_out/up");
    mkfifo("/iexec_out/fifo", 0600);
    link("/usr/bin/env", "/iexec_out/hard");
    mkdir("/iexec_out/closed", 0700);
    close(open("/iexec_out/closed/file", O_WRONLY | O_CREAT, 0));
    chmod("/iexec_out/closed", 0);
    close(open("/iexec_out/-rf\n\033[31m", O_WRONLY | O_CREAT, 0600));
}

static void orphans(void) {
    for (int i = 0; i < 8; i++)
        if (fork() == 0) {
            setsid();
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            if (fork() == 0)
                for (;;) pause();
            for (;;) sleep(1);
        }
    printf("left\n");
}

static void good(void) {
    int descriptor = open("/iexec_out/good.txt", O_WRONLY | O_CREAT, 0644);
    if (descriptor < 0 || write(descriptor, "good\n", 5) != 5) tried("a good job cannot write", 1);
    printf("good\n");
}

int main(int count, char **words) {
    const char *name = count > 1 ? words[1] : "";
    char **rest = words + 2;
    int left = count - 2;
    if (!strcmp(name, "good")) good();
    else if (!strcmp(name, "read-files")) read_files(left, rest);
    else if (!strcmp(name, "find-secret")) find_secret(rest[0]);
    else if (!strcmp(name, "write-inputs")) write_inputs();
    else if (!strcmp(name, "write-system")) write_system();
    else if (!strcmp(name, "connect")) connect_out(left, rest);
    else if (!strcmp(name, "fork-bomb")) fork_bomb(atoi(rest[0]));
    else if (!strcmp(name, "fork-for-ever")) fork_for_ever();
    else if (!strcmp(name, "memory-bomb")) memory_bomb();
    else if (!strcmp(name, "scratch-bomb")) scratch_bomb(atoi(rest[0]), left - 1, rest + 1);
    else if (!strcmp(name, "disk-bomb")) disk_bomb();
    else if (!strcmp(name, "hidden-bomb")) hidden_bomb();
    else if (!strcmp(name, "file-bomb")) file_bomb();
    else if (!strcmp(name, "log-bomb")) log_bomb();
    else if (!strcmp(name, "become-root")) become_root();
    else if (!strcmp(name, "trace")) trace(atoi(rest[0]));
    else if (!strcmp(name, "mounts")) mounts();
    else if (!strcmp(name, "kernel")) kernel();
    else if (!strcmp(name, "devices")) devices();
    else if (!strcmp(name, "signals")) signals(atoi(rest[0]));
    else if (!strcmp(name, "results")) results(rest[0]);
    else if (!strcmp(name, "orphans")) orphans();
    else if (!strcmp(name, "sleep")) sleep(atoi(rest[0]));
    else if (!strcmp(name, "linger")) {
        orphans();
        sleep(3600);
    }
    else return 64;
    return escapes ? 1 : 0;
}
