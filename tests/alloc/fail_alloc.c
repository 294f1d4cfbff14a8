/* tests/alloc/fail_alloc.c - a library to be loaded in front of the C library (LD_PRELOAD): memory that is refused when
 * a test says so, while the program runs.
 *
 * FAIL_ALLOC names a file of at least 32 bytes, four numbers of 64 bits that the test writes and reads as it runs:
 *
 *     mode      0: everything is given; 1: the `nth` request is refused, once; 2: every `nth` one
 *     nth
 *     asked     requests counted since the test has set this to 0
 *     refused   likewise, those that were refused
 *
 * A request is what takes memory: malloc() and its kin, mmap() of what is no file, and pthread_create(). The counters
 * are one for all threads. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct control { int64_t mode, nth, asked, refused; };

static struct control none, *control = &none;
static int (*real_pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static void *map(void *at, size_t n, int protection, int flags, int fd, off_t from)
{
    return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, from);
}

__attribute__((constructor)) static void open_control(void)
{
    const char *path = getenv("FAIL_ALLOC");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *found = dlsym(RTLD_NEXT, "pthread_create");
    memcpy(&real_pthread_create, &found, sizeof found);
    if (fd < 0)
        return;
    void *p = map(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED)
        control = p;
    close(fd);
}

static int refused(void)
{
    int64_t mode = __atomic_load_n(&control->mode, __ATOMIC_RELAXED);
    if (!mode)
        return 0;
    int64_t i = __atomic_add_fetch(&control->asked, 1, __ATOMIC_RELAXED), nth = control->nth;
    if (nth < 1 || (mode == 1 ? i != nth : i % nth != 0))
        return 0;
    __atomic_add_fetch(&control->refused, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n) { return refused() ? NULL : __libc_malloc(n); }
void *calloc(size_t count, size_t size) { return refused() ? NULL : __libc_calloc(count, size); }
void *realloc(void *p, size_t n) { return refused() ? NULL : __libc_realloc(p, n); }
void *memalign(size_t align, size_t n) { return refused() ? NULL : __libc_memalign(align, n); }
void *aligned_alloc(size_t align, size_t n) { return refused() ? NULL : __libc_memalign(align, n); }

int posix_memalign(void **out, size_t align, size_t n)
{
    void *p = refused() ? NULL : __libc_memalign(align, n);
    if (p)
        *out = p;
    return p ? 0 : ENOMEM;
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t from)
{
    return fd < 0 && refused() ? MAP_FAILED : map(at, n, protection, flags, fd, from);
}

void *mmap64(void *at, size_t n, int protection, int flags, int fd, off_t from) __attribute__((alias("mmap")));

int pthread_create(pthread_t *t, const pthread_attr_t *attributes, void *(*f)(void *), void *arg)
{
    return refused() ? EAGAIN : real_pthread_create(t, attributes, f, arg);
}
