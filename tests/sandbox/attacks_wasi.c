/* What a hostile WebAssembly module can try with WASI alone: no processes, sockets, users, mounts or devices are there to
 * be asked for. Exit code 0: all was refused; 1: something worked, and stdout says what. attack NAME [ARGUMENTS]. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* /, ., /iexec_in, /iexec_out, /tmp, /iexec_app */
#define GIVEN_FOLDERS 6

static int escapes = 0;

static void tried(const char *what, int worked) {
    if (worked) escapes++;
    printf(worked ? "ESCAPED: %s\n" : "refused: %s\n", what);
    fflush(stdout);
}

static int opens(const char *path, int flags) {
    int descriptor = open(path, flags, 0600);
    if (descriptor >= 0) close(descriptor);
    return descriptor >= 0;
}

/* read-files PATH...: by the path itself, by ways around, through a link, and from every folder that was given. */
static void read_files(int count, char **paths) {
    static const char *ways[] = {"", "/iexec_in/../../../..", "/iexec_out/../../../..", "/tmp/../../..", "../../../..",
                                 "/proc/1/root", "/proc/self/root", "/iexec_out/up"};
    symlink("../../../../../../..", "/iexec_out/up");
    for (int i = 0; i < count; i++) {
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            char path[4096];
            snprintf(path, sizeof path, "%s%s", ways[way], paths[i]);
            tried(path, opens(path, O_RDONLY));
        }
        unlink("/iexec_out/link");
        symlink(paths[i], "/iexec_out/link");
        tried("through a link", opens("/iexec_out/link", O_RDONLY));
    }
    unlink("/iexec_out/link");
    unlink("/iexec_out/up");
}

static char canary[256];

static int holds_canary(const char *path) {
    static char data[1 << 16];
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0) return 0;
    ssize_t length = read(descriptor, data, sizeof data);
    close(descriptor);
    for (ssize_t i = 0; i + (ssize_t)strlen(canary) <= length; i++)
        if (!memcmp(data + i, canary, strlen(canary))) return 1;
    return 0;
}

static void search(const char *folder, int depth) {
    DIR *listing = depth > 0 ? opendir(folder) : NULL;
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        char path[4096];
        struct stat about;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(path, sizeof path, "%s/%s", strcmp(folder, "/") ? folder : "", entry->d_name);
        if (lstat(path, &about)) continue;
        if (S_ISDIR(about.st_mode)) search(path, depth - 1);
        else if (holds_canary(path)) tried(path, 1);
    }
    if (listing) closedir(listing);
}

/* find-secret YRANAC: the canary backwards, so that this program's own arguments do not hold it. */
static void find_secret(const char *backwards) {
    size_t length = strlen(backwards);
    for (size_t i = 0; i < length; i++) canary[i] = backwards[length - 1 - i];
    search("/", 8);
    for (char **variable = environ; *variable; variable++) tried(*variable, strstr(*variable, canary) != NULL);
    /* What a fresh memory holds, and what lies behind its end: that traps, so it comes last. */
    tried("a secret of others", 0);
}

static void write_inputs(void) {
    tried("write an input", opens("/iexec_in/input.txt", O_WRONLY));
    tried("cut an input", opens("/iexec_in/input.txt", O_WRONLY | O_TRUNC));
    tried("remove an input", unlink("/iexec_in/input.txt") == 0);
    tried("rename an input", rename("/iexec_in/input.txt", "/iexec_in/other.txt") == 0);
    tried("rename an input away", rename("/iexec_in/input.txt", "/iexec_out/other.txt") == 0);
    tried("add an input", opens("/iexec_in/new.txt", O_WRONLY | O_CREAT));
    tried("link an input into the output", link("/iexec_in/input.txt", "/iexec_out/input.txt") == 0);
}

static void write_system(void) {
    static const char *places[] = {"/iexec_app/new", "/iexec_in/../new", "/usr/bin/new", "/etc/new", "/dev/new"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        tried(places[i], opens(places[i], O_WRONLY | O_CREAT));
}

/* connect: WASI knows sockets only that were given; whatever descriptor there is must not be one. */
__attribute__((import_module("wasi_snapshot_preview1"), import_name("sock_accept"))) extern int32_t
wasi_sock_accept(int32_t, int32_t, int32_t *);
__attribute__((import_module("wasi_snapshot_preview1"), import_name("sock_send"))) extern int32_t
wasi_sock_send(int32_t, const void *, int32_t, int32_t, uint32_t *);
static void connect_out(void) {
    struct {
        const char *data;
        uint32_t length;
    } piece = {"out", 3};
    for (int descriptor = 0; descriptor < 32; descriptor++) {
        int32_t made;
        uint32_t sent;
        tried("sock_accept", wasi_sock_accept(descriptor, 0, &made) == 0);
        tried("sock_send", wasi_sock_send(descriptor, &piece, 1, 0, &sent) == 0);
    }
}

/* More memory is refused, which a program sees: it may live on with what it has. */
static void memory_bomb(void) {
    for (int total = 0;; total += 4) {
        char *more = malloc(1 << 22);
        if (!more || total > 64) {
            tried("more memory than the limit", more != NULL);
            return;
        }
        for (volatile char *at = more; at < more + (1 << 22); at += 4096) *at = 7;
    }
}

static int fill(const char *path) {
    static char data[1 << 20];
    int descriptor = open(path, O_WRONLY | O_CREAT, 0600);
    if (descriptor < 0) return 0;
    while (write(descriptor, data, sizeof data) > 0) {}
    close(descriptor);
    return 1;
}

static void disk_bomb(const char *folder) {
    for (int number = 0;; number++) {
        char path[128];
        snprintf(path, sizeof path, "%s/fill-%d", folder, number);
        if (!fill(path)) return;
    }
}

static void hidden_bomb(void) {
    static char data[1 << 20];
    for (int number = 0; number < 1000; number++) {
        int descriptor = open("/iexec_out/hidden", O_RDWR | O_CREAT, 0600);
        unlink("/iexec_out/hidden");
        if (descriptor < 0) return;
        while (write(descriptor, data, sizeof data) > 0) {}
    }
}

static void file_bomb(void) {
    for (int number = 0;; number++) {
        char path[128];
        snprintf(path, sizeof path, "/iexec_out/%d", number);
        if (!opens(path, O_WRONLY | O_CREAT)) return;
    }
}

static void log_bomb(void) {
    static char data[1 << 16];
    memset(data, 'x', sizeof data);
    for (;;) {
        write(1, data, sizeof data);
        write(2, data, sizeof data);
    }
}

static void devices(void) {
    static const char *paths[] = {"/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/sda", "/dev/tty",
                                  "/dev/null", "/proc/self/mem", "/proc/kcore", "/sys/kernel/uevent_helper"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) tried(paths[i], opens(paths[i], O_RDONLY));
    /* Descriptors beyond those that it was given: what the host process itself has open. */
    for (int descriptor = 3 + GIVEN_FOLDERS; descriptor < 256; descriptor++) {
        struct stat about;
        char what[64];
        snprintf(what, sizeof what, "descriptor %d of the host", descriptor);
        tried(what, fstat(descriptor, &about) == 0);
    }
}

/* results PATH: outputs that would lead whoever collects them out of their folder. */
static void results(const char *secret) {
    symlink(secret, "/iexec_out/link");
    symlink("/", "/iexec_out/root");
    symlink("../../../../../..", "/iexec_out/up");
    opens("/iexec_out/../../out", O_WRONLY | O_CREAT);
    opens("/iexec_out/-rf\n\033[31m", O_WRONLY | O_CREAT);
}

static void good(void) {
    int descriptor = open("/iexec_out/good.txt", O_WRONLY | O_CREAT, 0644);
    if (descriptor < 0 || write(descriptor, "good\n", 5) != 5) tried("a good job cannot write", 1);
    printf("good\n");
}

int main(int count, char **words) {
    const char *name = count > 1 ? words[1] : "";
    char **rest = words + 2;
    if (!strcmp(name, "good")) good();
    else if (!strcmp(name, "read-files")) read_files(count - 2, rest);
    else if (!strcmp(name, "find-secret")) find_secret(rest[0]);
    else if (!strcmp(name, "write-inputs")) write_inputs();
    else if (!strcmp(name, "write-system")) write_system();
    else if (!strcmp(name, "connect")) connect_out();
    else if (!strcmp(name, "memory-bomb")) memory_bomb();
    else if (!strcmp(name, "scratch-bomb")) disk_bomb("/tmp");
    else if (!strcmp(name, "disk-bomb")) disk_bomb("/iexec_out");
    else if (!strcmp(name, "hidden-bomb")) hidden_bomb();
    else if (!strcmp(name, "file-bomb")) file_bomb();
    else if (!strcmp(name, "log-bomb")) log_bomb();
    else if (!strcmp(name, "devices")) devices();
    else if (!strcmp(name, "results")) results(rest[0]);
    else if (!strcmp(name, "sleep") || !strcmp(name, "linger")) for (volatile int i = 0;; i++) {}
    else return 64;
    return escapes ? 1 : 0;
}
