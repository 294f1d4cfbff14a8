/* The safetensors reader: what it finds, and that no file can hurt it. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/safetensors.h"
#include "tests/suite.h"

static char dir[] = "/tmp/openautoglm-test-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_bytes(const char *name, const void *data, size_t n)
{
    FILE *f = fopen(path_of(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, n, f), n);
    fclose(f);
}

/* A header, its length in front, `extra` bytes 0, 1, 2 ... behind. */
static size_t make(uint8_t *out, const char *header, size_t extra)
{
    uint64_t n = strlen(header);
    memcpy(out, &n, 8);
    memcpy(out + 8, header, n);
    for (size_t i = 0; i < extra; i++)
        out[8 + n + i] = (uint8_t)i;
    return 8 + n + extra;
}

static struct weights_file *open_header(const char *header, size_t extra, struct err *e)
{
    static uint8_t buf[8192];
    write_bytes("a.safetensors", buf, make(buf, header, extra));
    return weights_open_file(path_of("a.safetensors"), e);
}

START_TEST(test_reads)
{
    struct err e;
    struct weights_file *f = open_header("{\"__metadata__\":{\"format\":\"pt\"},"
                                         "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
                                         "\"b.c\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                                         "\"inside\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]},"
                                         "\"none\":{\"dtype\":\"U8\",\"shape\":[0,7],\"data_offsets\":[28,28]}}", 28,
                                         &e);
    int n;
    ck_assert_msg(f != NULL, "%s", e.text);
    weights_all(f, &n);
    ck_assert_int_eq(n, 4);
    const struct stored *t = weights_find(f, "a");
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->n_dims, 2);
    ck_assert_int_eq(t->dims[1], 3);
    ck_assert_uint_eq(t->bytes, 24);
    ck_assert_uint_eq(*(const uint8_t *)t->data, 4);
    ck_assert_str_eq(t->dtype, "F32");
    ck_assert_ptr_null(weights_find(f, "__metadata__"));
    ck_assert_ptr_null(weights_find(f, "A"));
    ck_assert_str_eq(weights_file_name(f, t), "a.safetensors");
    weights_close(f);
}
END_TEST

static const struct { const char *header, *error; } bad[] = {
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9]}}", "a: 9 bytes where its shape needs 8" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[60,68]}}", "a: bytes 60..68 lie outside" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", "lie outside" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "lie outside" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}", "lie outside" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", "bad shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "bad shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}}", "bad shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", "bad shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", "bad shape" },
    { "{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", "unknown dtype F31" },
    { "{\"a\":{\"dtype\":\"F3111111111111111111\",\"shape\":[2],\"data_offsets\":[0,8]}}", "no dtype" },
    { "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "no dtype" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "bad data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[\"0\",8]}}", "bad data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "bad data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],"
      "\"data_offsets\":[4,12]}}", "overlap" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[2],"
      "\"data_offsets\":[8,16]}}", "duplicate" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]},\"b\":{\"dtype\":\"F32\",\"shape\":[12],"
      "\"data_offsets\":[16,64]}}", "8 bytes before tensor a belong to no tensor" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[13],"
      "\"data_offsets\":[12,64]}}", "4 bytes before tensor b belong to no tensor" },
    { "{\"b\":{\"dtype\":\"F32\",\"shape\":[13],\"data_offsets\":[12,64]},\"a\":{\"dtype\":\"F32\",\"shape\":[2],"
      "\"data_offsets\":[0,8]}}", "4 bytes before tensor b belong to no tensor" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[63],\"data_offsets\":[0,63]}}", "1 bytes after the last tensor belong to "
        "no tensor" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[64,64]}}", "64 bytes before tensor a belong to no "
        "tensor" },
    { "{}", "64 bytes after the last tensor belong to no tensor" },
    { "{\"a\":7}", "no dtype" },
    { "[]", "not a JSON object" },
    { "{\"a\":", "not a JSON object" },
    { "", "not a JSON object" },
};

START_TEST(test_refuses)
{
    struct err e = { 0 };
    ck_assert_ptr_null(open_header(bad[_i].header, 64, &e));
    ck_assert_msg(strstr(e.text, bad[_i].error) != NULL, "\"%s\" does not say \"%s\"", e.text, bad[_i].error);
    ck_assert_ptr_nonnull(strstr(e.text, "a.safetensors"));
}
END_TEST

START_TEST(test_lengths)
{
    struct err e;
    uint8_t buf[64] = { 0 };
    static const uint64_t lengths[] = { 0, 57, 1 << 20, UINT64_MAX, UINT64_MAX - 7, (uint64_t)100 << 20 };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(buf, &lengths[i], 8);
        write_bytes("b.safetensors", buf, sizeof buf);
        ck_assert_ptr_null(weights_open_file(path_of("b.safetensors"), &e));
    }
    for (size_t n = 0; n < 9; n++) {
        write_bytes("b.safetensors", buf, n);
        ck_assert_ptr_null(weights_open_file(path_of("b.safetensors"), &e));
    }
    ck_assert_ptr_null(weights_open_file(path_of("missing"), &e));
    ck_assert_ptr_null(weights_open_file(dir, &e));
}
END_TEST

START_TEST(test_deep_json)
{
    struct err e;
    size_t depth = 1 << 20;
    uint8_t *buf = malloc(8 + 2 * depth);
    uint64_t n = 2 * depth;
    memcpy(buf, &n, 8);
    memset(buf + 8, '[', depth);
    memset(buf + 8 + depth, ']', depth);
    write_bytes("deep.safetensors", buf, 8 + 2 * depth);
    ck_assert_ptr_null(weights_open_file(path_of("deep.safetensors"), &e));
    free(buf);
}
END_TEST

/* Two shards and an index, which may lie. */
START_TEST(test_shards)
{
    static uint8_t buf[4096];
    struct err e = { 0 };
    static const struct { const char *map, *error; } cases[] = {
        { "{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}}", NULL },
        { "{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"x.safetensors\"}}", "tensor b is not in x.safetensors" },
        { "{\"weight_map\":{\"a\":\"y.safetensors\",\"b\":\"y.safetensors\"}}", "tensor a is not in y.safetensors" },
        { "{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "not the name of a file" },
        { "{\"weight_map\":{\"a\":\"..\"}}", "not the name of a file" },
        { "{\"weight_map\":{\"a\":5}}", "not the name of a file" },
        { "{\"weight_map\":{\"a\":\"z.safetensors\"}}", "z.safetensors: No such file" },
        { "{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\",\"c\":\"twice.safetensors\"}}",
          "a second one" },
        { "{\"weight_map\":[]}", "no weight_map" },
        { "{", "line 1" },
    };
    write_bytes("x.safetensors", buf, make(buf, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8));
    write_bytes("y.safetensors", buf, make(buf, "{\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4));
    write_bytes("twice.safetensors", buf, make(buf, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
                                               8));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_bytes("model.safetensors.index.json", cases[i].map, strlen(cases[i].map));
        struct weights_file *f = weights_open(dir, &e);
        ck_assert_msg((f != NULL) == (cases[i].error == NULL), "%s: %s", cases[i].map, e.text);
        if (f) {
            ck_assert_ptr_nonnull(weights_find(f, "a"));
            ck_assert_str_eq(weights_file_name(f, weights_find(f, "b")), "y.safetensors");
        } else {
            ck_assert_msg(strstr(e.text, cases[i].error) != NULL, "\"%s\" does not say \"%s\"", e.text, cases[i].error);
        }
        weights_close(f);
    }
    unlink(path_of("model.safetensors.index.json"));
    ck_assert_ptr_null(weights_open(dir, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "no model.safetensors"));
}
END_TEST

static uint32_t state = 12345;
static uint32_t draw(void) { return state = state * 1664525u + 1013904223u, state >> 8; }

/* Bytes of a good file changed at random: opened or refused, every tensor inside the file, nothing else. */
START_TEST(test_mutations)
{
    static const char good[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                               "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}}";
    static const char marks[] = "0123456789-+.eE{}[],:\"\\\x01\xff nulltrue";
    uint8_t base[512], buf[512];
    size_t n = make(base, good, 32);
    struct err e;
    for (int i = 0; i < 4000; i++) {
        memcpy(buf, base, n);
        for (uint32_t k = 0, changes = 1 + draw() % 3; k < changes; k++)
            buf[draw() % 4 ? 8 + draw() % (n - 40) : draw() % n] = (uint8_t)marks[draw() % (sizeof marks - 1)];
        size_t size = draw() % 8 ? n : draw() % n;
        write_bytes("m.safetensors", buf, size);
        struct weights_file *f = weights_open_file(path_of("m.safetensors"), &e);
        int count = 0;
        unsigned sum = 0;
        const struct stored *t = f ? weights_all(f, &count) : NULL;
        for (int k = 0; k < count; k++)
            for (size_t b = 0; b < t[k].bytes; b++)
                sum += ((const uint8_t *)t[k].data)[b];
        ck_assert_uint_le(sum, 255 * 64);
        weights_close(f);
    }
}
END_TEST

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    Suite *s = suite_create("safetensors");
    TCase *t = tcase_create("reader");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_reads);
    tcase_add_loop_test(t, test_refuses, 0, sizeof bad / sizeof *bad);
    tcase_add_test(t, test_lengths);
    tcase_add_test(t, test_deep_json);
    tcase_add_test(t, test_shards);
    tcase_add_test(t, test_mutations);
    suite_add_tcase(s, t);
    int failed = suite_run(s);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return failed != 0 || system(command) != 0;
}
