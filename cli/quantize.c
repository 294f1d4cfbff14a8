/* cli/quantize.c - `openautoglm quantize --model DIR --weights int4 --out DIR2`:
 * a folder like DIR whose weights lie in their file as the CPU uses them, so
 * that serving it maps them and converts nothing.
 *
 * All is written into a folder beside DIR2 that gets its name at the very end:
 * whatever goes wrong, there is a whole DIR2 or none. */
#include "cli/quantize.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/calibrate.h"
#include "cli/command.h"
#include "model/store.h"

enum { MAX_PATH = 4096 };

static volatile sig_atomic_t stop;

static void ask_to_stop(int sig) { stop = sig; }

static int join(char out[MAX_PATH], const char *dir, const char *name, struct err *e)
{
    if ((size_t)snprintf(out, MAX_PATH, "%s/%s", dir, name) >= MAX_PATH)
        return err_set(e, "%.200s...: the path is too long", dir);
    return 0;
}

/* ---- the small files ---- */

/* Weights in any format, and what only describes them. */
static bool is_of_weights(const char *name)
{
    static const char *const ends[] = { ".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt",
                                        ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".onnx_data" };
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n >= strlen(ends[i]) && strcasecmp(name + n - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

/* write() may take less than it was given, and may be interrupted. */
static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno != EINTR)
            return -1;
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return 0;
}

/* Copies a file into a new one; one that is there already is an error. The data is on the disk when this returns 0. */
static int copy_file(const char *from, const char *to, struct err *e)
{
    char part[65536];
    ssize_t n = 0;
    int in = file_open(from, e), rc = 0;
    if (in < 0)
        return -1;
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    while (out >= 0 && rc == 0 && (n = read(in, part, sizeof part)) > 0)
        rc = write_all(out, part, (size_t)n);
    if (out < 0 || rc != 0 || fsync(out) != 0)
        rc = err_set(e, "%.400s: cannot be written: %s", to, strerror(errno));
    else if (n < 0)
        rc = err_set(e, "%.400s: cannot be read: %s", from, strerror(errno));
    if (out >= 0)
        close(out);
    close(in);
    return rc;
}

/* One entry of a checkpoint's folder. Of the folders in it only the one with chat templates is of use. */
static int copy_entry(const char *dir, const char *out, const char *name, struct err *e);

/* Copies everything that is not hidden and not a file of weights. */
static int copy_folder(const char *dir, const char *out, struct err *e)
{
    int rc = 0;
    struct dirent *f;
    DIR *d = opendir(dir);
    if (!d)
        return err_set(e, "%.400s: %s", dir, strerror(errno));
    while (rc == 0 && (f = readdir(d)))
        if (*f->d_name != '.' && !is_of_weights(f->d_name))
            rc = copy_entry(dir, out, f->d_name, e);
    closedir(d);
    return rc;
}

/* Copies what belongs to a checkpoint beside its weights: plain files, and the one folder that may hold chat templates.
 * Other folders are left out. */
static int copy_entry(const char *dir, const char *out, const char *name, struct err *e)
{
    char from[MAX_PATH], to[MAX_PATH];
    struct stat st;
    if (join(from, dir, name, e) != 0 || join(to, out, name, e) != 0)
        return -1;
    if (stat(from, &st) != 0)
        return err_set(e, "%.400s: %s", from, strerror(errno));
    if (S_ISREG(st.st_mode))
        return copy_file(from, to, e);
    if (!S_ISDIR(st.st_mode) || strcmp(name, "additional_chat_templates") != 0)
        return 0;
    if (mkdir(to, 0777) != 0)
        return err_set(e, "%.400s: %s", to, strerror(errno));
    return copy_folder(from, to, e);
}

/* ---- the folder ---- */

/* Removes a folder that this program has made; folders in it have no folders. */
static void remove_folder(const char *dir)
{
    char path[MAX_PATH];
    struct dirent *f;
    DIR *d = opendir(dir);
    while (d && (f = readdir(d)))
        if (strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0 && join(path, dir, f->d_name, NULL) == 0 &&
            unlink(path) != 0)
            remove_folder(path);
    if (d)
        closedir(d);
    rmdir(dir);
}

/* All of the new checkpoint, in the folder `to`. */
static int fill(const struct config *c, const char *to, const struct store_options *opt, size_t *bytes, struct err *e)
{
    char path[MAX_PATH];
    if (join(path, to, "model.safetensors", e) != 0 || model_store(c->engine.model, path, opt, bytes, e) != 0)
        return -1;
    return copy_folder(c->engine.model, to, e);
}

/* Checks --out, fills a folder beside it, and gives that its name. Whatever happens, no half-written --out is left: the
 * unfinished folder is removed again. The process id in its name keeps two runs apart. */
static int quantize(const struct config *c, enum dtype weights, struct err *e)
{
    static struct progress writing = { .what = "writing" }, calibrating = { .what = "calibrating" };
    struct sample text = { .path = c->calibrate, .dir = c->engine.model, .max_tokens = c->calibrate_tokens };
    const struct store_sample sample = { .run = sample_run, .arg = &text, .progress = progress_bytes,
                                         .progress_arg = &calibrating };
    struct store_options opt = { .weights = weights, .threads = c->engine.threads, .stop = &stop,
                                 .progress = progress_bytes, .progress_arg = &writing,
                                 .sample = *c->calibrate ? &sample : NULL };
    char out[MAX_PATH - 64], part[MAX_PATH];
    double began = clock_seconds();
    size_t bytes = 0, n = strlen(c->out);
    while (n > 1 && c->out[n - 1] == '/')
        n--;
    if ((size_t)snprintf(out, sizeof out, "%.*s", (int)n, c->out) >= sizeof out)
        return err_field(e, "out", "--out: the path is too long");
    if (file_exists(out))
        return err_field(e, "out", "%.300s: is there already, and nothing is overwritten; remove it or give another "
                                   "--out", out);
    snprintf(part, sizeof part, "%s.part-%ld", out, (long)getpid());
    if (mkdir(part, 0777) != 0)
        return err_field(e, "out", "%.300s: %s", part, strerror(errno));
    int rc = fill(c, part, &opt, &bytes, e);
    if (rc == 0 && rename(part, out) != 0)
        rc = err_set(e, "%.300s: %s", out, strerror(errno));
    if (rc != 0)
        remove_folder(part);
    else
        log_info("%s: %.1f MB of weights as %s after %.1f s", out, (double)bytes / 1e6, dtype_name(weights),
                 clock_seconds() - began);
    if (rc == 0 && opt.sample)
        log_info("calibrated with %d tokens of %s", text.tokens, c->calibrate);
    return rc;
}

/* Signals end the work at the next weight, so that nothing is left behind. A file that becomes too large for the
 * system is an error of writing it. */
int command_quantize(int argc, char **argv)
{
    struct config c;
    struct err e;
    enum dtype weights = F32;
    int rc = command_options(&c, OPT_QUANTIZE, "quantize --model DIR --weights int8|int4|fp8|bf16 [--calibrate FILE] "
                                               "--out DIR2", argc, argv);
    if (rc >= 0)
        return rc;
    signal(SIGINT, ask_to_stop);
    signal(SIGTERM, ask_to_stop);
    signal(SIGXFSZ, SIG_IGN);
    rc = 0;
    if (!*c.out)
        rc = err_field(&e, "out", "--out DIR2 is needed: the folder to write");
    else if (!dtype_named(c.engine.weights, &weights) || weights == F32)
        rc = err_field(&e, "weights", "--weights is needed: int8, int4, fp8 or bf16");
    else if (*c.calibrate && weights != Q4 && weights != Q8)
        rc = err_field(&e, "calibrate", "--calibrate is for --weights int4 or int8");
    else
        rc = command_find_model(&c, true, &e);
    if (rc != 0)
        rc = command_fail(EXIT_USAGE, &e);
    else if (quantize(&c, weights, &e) != 0)
        rc = command_fail(EXIT_FAILURE, &e);
    options_free(&c);
    return rc;
}
