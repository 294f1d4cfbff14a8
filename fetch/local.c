/* fetch/local.c - opens a file below a folder one part of its path after the other, so that nothing on the way can lead
 * out, even if it is changed meanwhile. See local.h. */
#include "fetch/local.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static const char outside[] = "is not in the folder of --allow-local-images";

bool local_is_url(const char *url) { return strncasecmp(url, "file:", 5) == 0; }

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *p = c ? strchr(digits, c | 0x20) : NULL;
    return p ? (int)(p - digits) : -1;
}

/* The path of a URL: file:///a/b, file://localhost/a/b or file:/a/b, percent-decoded once. -1: another host, no
 * absolute path, or a byte of zero in it. */
static int path_of(const char *url, char out[PATH_MAX])
{
    static const char host[] = "//localhost/";
    const char *p = url + 5;
    size_t n = 0;
    if (strncasecmp(p, host, sizeof host - 1) == 0)
        p += sizeof host - 2;
    else if (strncmp(p, "///", 3) == 0)
        p += 2;
    if (p[0] != '/' || p[1] == '/')
        return -1;
    for (; *p && *p != '#' && *p != '?'; p++) {
        int high = *p == '%' ? hex(p[1]) : -1, low = high >= 0 ? hex(p[2]) : -1;
        char c = *p;
        if (low >= 0) {
            c = (char)(high << 4 | low);
            p += 2;
        }
        if (!c || n + 1 == PATH_MAX)
            return -1;
        out[n++] = c;
    }
    out[n] = '\0';
    return 0;
}

/* Opens the file of a path relative to the folder. O_NOFOLLOW refuses a link in every place, and O_NONBLOCK does not
 * wait for the other end of a pipe. -1: errno says why; ELOOP or ENOTDIR at a link. */
static int open_below(const char *folder, const char *path)
{
    char part[NAME_MAX + 1];
    int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (at >= 0) {
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        bool last = !path[n];
        if (n == 0 || n > NAME_MAX || strncmp(path, "..", n) == 0) {       /* "" and "." and ".." */
            close(at);
            errno = EACCES;
            return -1;
        }
        memcpy(part, path, n);
        part[n] = '\0';
        int next = openat(at, part, O_NOFOLLOW | O_CLOEXEC |
                                        (last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : O_PATH | O_DIRECTORY));
        int why = errno;
        close(at);
        errno = why;
        if (last)
            return next;
        at = next;
        path += n;
    }
    return -1;
}

/* Reads an open file of at most `most` bytes into memory that the caller owns. Only plain files: a device or a pipe
 * could block or never end. A file that became shorter meanwhile gives what was there. */
static int read_all(int fd, size_t most, unsigned char **out, size_t *n, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(e, "is not a file");
    if ((size_t)st.st_size > most)
        return err_set(e, "has %lld bytes; an image file may have %zu", (long long)st.st_size, most);
    size_t size = (size_t)st.st_size, have = 0;
    if (!(*out = malloc(size + 1)))
        return err_memory(e);
    for (ssize_t r; have < size && (r = read(fd, *out + have, size - have)) > 0;)
        have += (size_t)r;
    *n = have;
    if (have > 0)
        return 0;
    free(*out);
    *out = NULL;
    return err_set(e, "holds no data");
}

/* What lies outside and what does not exist is told in the same words, so that nobody can ask what else is on this
 * machine. */
int local_read(const char *url, const char *folder, size_t most, unsigned char **out, size_t *n, struct err *e)
{
    char   path[PATH_MAX];
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/')
        len--;
    if (path_of(url, path) != 0 || strncmp(path, folder, len) != 0 || (len > 1 && path[len] != '/'))
        return err_set(e, outside);
    int fd = open_below(folder, path + len);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? "there is no such file, or it %s" : "%s", outside);
    int rc = read_all(fd, most, out, n, e);
    close(fd);
    return rc;
}
