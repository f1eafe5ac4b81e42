/*
 * The disk layer of the storage tests: between a process (Python and SQLite alike) and the C library.
 *
 * Preloaded, it does nothing until shim_arm(). From then on every call on a file below one directory is
 * counted, written to a trace with its data, and can be made to fail, to do nothing, or to stop the process.
 * tests/storage/shim.py compiles it and reads the trace; the numbers below are repeated there.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, CLOSE, READ, WRITE, TRUNCATE, SYNC, UNLINK, RENAME, MKDIR, STAT, LOCK, MAP };
enum { NONE, FAIL, SHORT, LOSE, KILL, STOP };

#define FDS 1024
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char directory[512];
static size_t directory_len;
static char *names[FDS]; /* of the open files below the directory; NULL: not ours */
static struct {
    int trace, action, error;
    long at, until;   /* calls with these numbers ... */
    unsigned which;   /* ... of these kinds (bit 1 << OPEN and so on) are hit */
    long count;
    int full;         /* after a short write the disk is full */
} armed = {.trace = -1};

struct head {
    uint8_t op, hit, name_len, name2_len;
    int32_t error;
    uint64_t inode, offset, size;
    uint32_t data_len, existed;
};

void shim_arm(const char *below, int trace, int action, int error, long at, long until, unsigned which) {
    directory_len = strlen(strncpy(directory, below, sizeof directory - 1));
    armed.trace = trace, armed.action = action, armed.error = error;
    armed.at = at, armed.until = until, armed.which = which;
    armed.count = armed.full = 0;
}

/* --- what is ours, and what is to happen to it */

static const char *inside(const char *path) {
    if (!directory_len || !path || strncmp(path, directory, directory_len) || path[directory_len] != '/')
        return NULL;
    return path + directory_len + 1;
}

static const char *of(int fd) { return fd >= 0 && fd < FDS ? names[fd] : NULL; }

static int struck(int op) {
    long n = ++armed.count;
    if (armed.full && op == WRITE) {
        armed.full = 0;
        armed.error = ENOSPC;
        return FAIL;
    }
    if (!(armed.which >> op & 1) || n < armed.at || n > armed.until)
        return NONE;
    if (armed.action == KILL)
        raise(SIGKILL);
    if (armed.action == STOP)
        raise(SIGSTOP);
    return armed.action;
}

static void note(int op, int hit, const char *name, const char *name2, uint64_t inode, uint64_t offset,
                 uint64_t size, const void *data, size_t data_len, int existed, int error) {
    struct head head = {op, hit, strlen(name), name2 ? strlen(name2) : 0, error, inode, offset, size,
                        (uint32_t)data_len, existed};
    struct iovec parts[] = {{&head, sizeof head},
                            {(void *)name, head.name_len},
                            {(void *)name2, head.name2_len},
                            {(void *)data, data_len}};
    int saved = errno;
    if (armed.trace >= 0 && writev(armed.trace, parts, 4) < 0)
        abort();
    errno = saved;
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return REAL(fstat)(fd, &found) ? 0 : found.st_ino;
}

#define FAILED (errno = armed.error, -1)
/* A call that takes a file and says only whether it worked. */
#define SIMPLE(op, ours, name2, inode, size, call)                                                        \
    const char *name = ours;                                                                              \
    if (!name)                                                                                            \
        return call;                                                                                      \
    int hit = struck(op), result = hit == FAIL ? FAILED : hit == LOSE ? 0 : call;                         \
    note(op, hit, name, name2, inode, 0, size, NULL, 0, 0, result < 0 ? errno : 0);                       \
    return result

/* --- files */

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    const char *name = inside(path);
    if (!name && !(directory_len && path && !strcmp(path, directory)))
        return real(path, flags, mode);
    struct stat found;
    int existed = !REAL(lstat)(path, &found), hit = struck(OPEN);
    int fd = hit == FAIL ? FAILED : real(path, flags, mode);
    name = name ? name : ".";
    note(OPEN, hit, name, NULL, fd < 0 ? 0 : inode_of(fd), flags, flags & O_TRUNC ? 1 : 0, NULL, 0, existed,
         fd < 0 ? errno : 0);
    if (fd >= 0 && fd < FDS)
        names[fd] = strdup(name);
    return fd;
}

#define OPENER(call)                                                                                      \
    int call(const char *path, int flags, ...) {                                                          \
        va_list rest;                                                                                     \
        va_start(rest, flags);                                                                            \
        mode_t mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                                     \
        return opened(REAL(call), path, flags, mode);                                                     \
    }
OPENER(open)
OPENER(open64)

int close(int fd) {
    const char *name = of(fd);
    if (!name)
        return REAL(close)(fd);
    int hit = struck(CLOSE), result = REAL(close)(fd);
    if (hit == FAIL)
        result = FAILED; /* The file is closed all the same, as on a real disk. */
    note(CLOSE, hit, name, NULL, 0, 0, 0, NULL, 0, 0, result < 0 ? errno : 0);
    free(names[fd]);
    names[fd] = NULL;
    return result;
}

#define READER(call, params, args, at)                                                                    \
    ssize_t call params {                                                                                 \
        const char *name = of(fd);                                                                        \
        if (!name)                                                                                        \
            return REAL(call) args;                                                                       \
        int hit = struck(READ);                                                                           \
        ssize_t got = hit == FAIL ? FAILED : REAL(call) args;                                             \
        note(READ, hit, name, NULL, 0, at, size, NULL, 0, 0, got < 0 ? errno : 0);                        \
        return got;                                                                                       \
    }
READER(read, (int fd, void *to, size_t size), (fd, to, size), 0)
READER(pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at), at)
READER(pread64, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at), at)

static ssize_t written(int fd, const char *name, const void *from, size_t size, off64_t at) {
    int hit = struck(WRITE);
    if (hit == FAIL) {
        note(WRITE, hit, name, NULL, 0, at, size, NULL, 0, 0, armed.error);
        return FAILED;
    }
    if (hit == SHORT && size > 1)
        size /= 2, armed.full = 1;
    ssize_t put = hit == LOSE ? (ssize_t)size : REAL(pwrite64)(fd, from, size, at);
    note(WRITE, hit, name, NULL, inode_of(fd), at, size, from, put > 0 ? put : 0, 0, put < 0 ? errno : 0);
    return put;
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    const char *name = of(fd);
    return name ? written(fd, name, from, size, at) : REAL(pwrite)(fd, from, size, at);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    const char *name = of(fd);
    return name ? written(fd, name, from, size, at) : REAL(pwrite64)(fd, from, size, at);
}

ssize_t write(int fd, const void *from, size_t size) {
    const char *name = of(fd);
    if (!name)
        return REAL(write)(fd, from, size);
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    ssize_t put = written(fd, name, from, size, at);
    if (put > 0)
        lseek64(fd, at + put, SEEK_SET);
    return put;
}

int fsync(int fd) { SIMPLE(SYNC, of(fd), NULL, inode_of(fd), 0, REAL(fsync)(fd)); }
int fdatasync(int fd) { SIMPLE(SYNC, of(fd), NULL, inode_of(fd), 0, REAL(fdatasync)(fd)); }
int ftruncate(int fd, off_t to) { SIMPLE(TRUNCATE, of(fd), NULL, inode_of(fd), to, REAL(ftruncate)(fd, to)); }
int ftruncate64(int fd, off64_t to) {
    SIMPLE(TRUNCATE, of(fd), NULL, inode_of(fd), to, REAL(ftruncate64)(fd, to));
}

/* --- names */

int unlink(const char *path) { SIMPLE(UNLINK, inside(path), NULL, 0, 0, REAL(unlink)(path)); }
int mkdir(const char *path, mode_t mode) { SIMPLE(MKDIR, inside(path), NULL, 0, 0, REAL(mkdir)(path, mode)); }
int rename(const char *from, const char *to) {
    SIMPLE(RENAME, inside(from), inside(to), 0, 0, REAL(rename)(from, to));
}

/* --- the rest may fail, and changes nothing that lasts */

int stat(const char *path, struct stat *to) { SIMPLE(STAT, inside(path), NULL, 0, 0, REAL(stat)(path, to)); }
int lstat(const char *path, struct stat *to) { SIMPLE(STAT, inside(path), NULL, 0, 0, REAL(lstat)(path, to)); }
int fstat(int fd, struct stat *to) { SIMPLE(STAT, of(fd), NULL, 0, 0, REAL(fstat)(fd, to)); }
int stat64(const char *path, struct stat64 *to) {
    SIMPLE(STAT, inside(path), NULL, 0, 0, REAL(stat64)(path, to));
}
int lstat64(const char *path, struct stat64 *to) {
    SIMPLE(STAT, inside(path), NULL, 0, 0, REAL(lstat64)(path, to));
}
int fstat64(int fd, struct stat64 *to) { SIMPLE(STAT, of(fd), NULL, 0, 0, REAL(fstat64)(fd, to)); }
int flock(int fd, int how) { SIMPLE(LOCK, of(fd), NULL, 0, how, REAL(flock)(fd, how)); }

#define CONTROL(call)                                                                                     \
    int call(int fd, int command, ...) {                                                                  \
        va_list rest;                                                                                     \
        va_start(rest, command);                                                                          \
        long value = va_arg(rest, long);                                                                  \
        va_end(rest);                                                                                     \
        if (command != F_SETLK)                                                                           \
            return REAL(call)(fd, command, value);                                                        \
        SIMPLE(LOCK, of(fd), NULL, 0, 0, REAL(call)(fd, command, value));                                 \
    }
CONTROL(fcntl)
CONTROL(fcntl64)

/* SQLite sleeps between its attempts to get a lock, up to ten seconds: here, nobody is there who would release it. */
#define SLEEPER(call, result, params, args)                                                               \
    result call params { return directory_len ? 0 : REAL(call) args; }
SLEEPER(sleep, unsigned, (unsigned seconds), (seconds))
SLEEPER(usleep, int, (useconds_t micros), (micros))
SLEEPER(nanosleep, int, (const struct timespec *wanted, struct timespec *left), (wanted, left))

#define MAPPER(call, offset)                                                                              \
    void *call(void *to, size_t size, int protection, int flags, int fd, offset at) {                     \
        const char *name = of(fd);                                                                        \
        int hit = name ? struck(MAP) : NONE;                                                              \
        if (name)                                                                                         \
            note(MAP, hit, name, NULL, 0, at, size, NULL, 0, 0, hit == FAIL ? armed.error : 0);           \
        return hit == FAIL ? (errno = armed.error, MAP_FAILED) : REAL(call)(to, size, protection, flags, fd, at); \
    }
MAPPER(mmap, off_t)
MAPPER(mmap64, off64_t)
