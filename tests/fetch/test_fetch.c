/* Names of a hub, allowed hosts and addresses, files below a folder, and hashes of files that arrive in parts. What
 * needs a server is tested in tests/api/test_hub.py and test_remote_images.py. */
#include "tests/suite.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha1.h"
#include "base/sha256.h"
#include "fetch/hosts.h"
#include "fetch/hub.h"
#include "fetch/kept.h"
#include "fetch/local.h"
#include "fetch/transfer.h"
#include "fetch/wanted.h"

/* ---- names of a hub ---- */

START_TEST(test_hub_names)
{
    static const char *const good[][3] = {
        { "org/name", "org/name", "main" }, { "a.b-c_D/9", "a.b-c_D/9", "main" },
        { "org/name@v1.0", "org/name", "v1.0" },
        { "org/name@refs/pr/1", "org/name", "refs/pr/1" },
        { "org/name@0123456789012345678901234567890123456789", "org/name", "0123456789012345678901234567890123456789" },
    };
    static const char *const bad[] = {
        "", "name", "/name", "org/", "org/name/x", "../name", "org/..", "org/a..b", "-org/name", "org/name-",
        "org--a/name",
        ".org/name", "org/na me", "org/n\nme", "org/name@", "org/name@../x", "org/name@a/../b", "org/name@/a",
        "org/name@a//b",
        "org/name@-x", "org/name@a b", "org/name@a\nb", "org/n\xc3\xa4me",
        "oooooooooooooooooooooooooooooooooooooooooooooooooooooo/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    };
    struct hub_name name;
    struct err      e;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_int_eq(hub_name_parse(&name, good[i][0], &e), 0);
        ck_assert_str_eq(name.model, good[i][1]);
        ck_assert_str_eq(name.revision, good[i][2]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(hub_name_parse(&name, bad[i], &e) == -1 && *e.text, "%s", bad[i]);
}
END_TEST

START_TEST(test_what_a_hub_says)
{
    static const char *const files[] = { "config.json", "a/b/c.json", "a b", "..a", "a..", "\xc3\xa4" };
    static const char *const no_files[] = { "", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "./a",
                                            "a\\b", "a\nb" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        ck_assert_msg(hub_is_file(files[i]), "%s", files[i]);
    for (size_t i = 0; i < sizeof no_files / sizeof *no_files; i++)
        ck_assert_msg(!hub_is_file(no_files[i]), "%s", no_files[i]);
    ck_assert(hub_is_commit("0123456789abcdef0123456789abcdef01234567") && !hub_is_commit("main"));
    ck_assert(!hub_is_commit("../3456789abcdef0123456789abcdef01234567"));
    ck_assert(hub_is_etag("abc-1.2_X") && !hub_is_etag("") && !hub_is_etag("..") && !hub_is_etag("a/b"));
    ck_assert(wanted_template("additional_chat_templates/tool_use.jinja"));
    ck_assert(!wanted_template("additional_chat_templates/a/b.jinja") && !wanted_template("x.jinja"));
}
END_TEST

/* ---- hosts ---- */

/* May the URL be asked, if its host turns out to have this address? */
static bool allowed(const char *list, const char *url, const char *address)
{
    char copy[256], *item[8], host[TRANSFER_ORIGIN];
    int  n = 0;
    struct hosts h;
    struct err   e = { 0 };
    union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } to;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *p = strtok(copy, ","); p; p = strtok(NULL, ","))
        item[n++] = p;
    ck_assert_msg(hosts_init(&h, item, n, &e) == 0, "%s", e.text);
    if (!transfer_host(url, host) || !hosts_name(&h, host))
        return false;
    memset(&to, 0, sizeof to);
    if (inet_pton(AF_INET, address, &to.v4.sin_addr) == 1)
        to.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, address, &to.v6.sin6_addr) == 1)
        to.any.sa_family = AF_INET6;
    return hosts_address(&h, host, &to.any);
}

START_TEST(test_public_addresses)
{
    static const char *const open[] = { "8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.128.0.1", "192.0.1.1",
                                        "223.255.255.255",
                                        "2606:4700::1111", "2a00::1", "64:ff9b::808:808", "::ffff:8.8.8.8",
                                        "2002:808:808::1" };
    static const char *const closed[] = {
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254",
        "172.16.0.1", "172.31.255.255",
        "192.0.0.1", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.1.1.1",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::", "2001::1", "2001:db8::1", "100::1",
        "fc00::1", "fd12::1",
        "fe80::1", "fec0::1", "ff02::1", "3fff::1", "4000::1",
    };
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        ck_assert_msg(allowed("*", "http://a.example/", open[i]), "%s", open[i]);
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++)
        ck_assert_msg(!allowed("*", "http://a.example/", closed[i]), "%s", closed[i]);
}
END_TEST

/* A name that is allowed may be pointed anywhere by whoever owns it, so the address decides. */
START_TEST(test_names_and_addresses)
{
    ck_assert(allowed("a.example", "https://A.example:8443/x", "8.8.8.8"));
    ck_assert(allowed("a.example", "https://a.example./x", "8.8.8.8"));
    ck_assert(!allowed("a.example", "https://b.a.example/x", "8.8.8.8"));
    ck_assert(!allowed("a.example", "https://a.example.evil/x", "8.8.8.8"));
    ck_assert(!allowed("a.example", "https://evil/?a.example", "8.8.8.8"));
    ck_assert(!allowed("a.example", "https://a.example@evil/", "8.8.8.8"));
    ck_assert(!allowed("a.example", "https://evil#@a.example/", "8.8.8.8"));
    ck_assert(!allowed("a.example", "https://a.example/x", "127.0.0.1"));
    ck_assert(!allowed("a.example", "https://a.example/x", "::ffff:127.0.0.1"));
    ck_assert(allowed("*.a.example", "https://b.A.example/x", "8.8.8.8"));
    ck_assert(!allowed("*.a.example", "https://a.example/x", "8.8.8.8") &&
              !allowed("*.a.example", "https://xa.example/", "8.8.8.8"));
    ck_assert(allowed("in.example,10.1.0.0/16", "http://in.example/", "10.1.2.3"));
    ck_assert(!allowed("in.example,10.1.0.0/16", "http://in.example/", "10.2.0.1"));
    ck_assert(allowed("10.1.0.0/16", "http://10.1.255.255/", "10.1.255.255") &&
              !allowed("10.1.0.0/16", "http://in.example/", "10.1.0.1"));
    ck_assert(allowed("localhost", "http://localhost/", "127.0.0.1") &&
              allowed("localhost", "http://localhost/", "::1"));
    ck_assert(!allowed("localhost", "http://localhost/", "10.0.0.1") &&
              !allowed("localhost", "http://127.0.0.1/", "127.0.0.1"));
    ck_assert(!allowed("*,localhost", "http://rebound.example/", "127.0.0.1"));
    ck_assert(allowed("[fd00::]/8", "http://[fd00::1]/", "fd00::1") &&
              !allowed("fd00::/8", "http://[fe80::1]/", "fe80::1"));
    ck_assert(!allowed("*", "file:///etc/passwd", "8.8.8.8") && !allowed("*", "gopher://a/", "8.8.8.8"));
}
END_TEST

/* Ways to write 127.0.0.1: with "*" alone they are refused by their address, whichever way the resolver reads them;
 * with 127.0.0.1 in the list they are that address. */
START_TEST(test_spellings)
{
    static const char *const local[] = { "http://127.0.0.1/", "http://2130706433/", "http://0177.0.0.1/",
                                         "http://0x7f.0.0.1/",
                                         "http://0x7f000001/", "http://127.1/", "http://[::ffff:127.0.0.1]/",
                                         "http://[::ffff:7f00:1]/" };
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        ck_assert_msg(!allowed("*", local[i], "127.0.0.1"), "%s", local[i]);
        ck_assert_msg(allowed("127.0.0.1", local[i], "127.0.0.1"), "%s", local[i]);
        ck_assert_msg(!allowed("8.8.8.8,a.example", local[i], "127.0.0.1"), "%s", local[i]);
    }
}
END_TEST

START_TEST(test_lists_that_are_none)
{
    static const char *const bad[] = { "http://a", "a b", "10.0.0.0/33", "::1/129", "10.0.0.0/x", "*.", ".a", "a/8",
                                       "*a" };
    struct hosts h;
    struct err   e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char copy[32], *item[] = { copy };
        snprintf(copy, sizeof copy, "%s", bad[i]);
        ck_assert_msg(hosts_init(&h, item, 1, &e) == -1 && strstr(e.text, bad[i]), "%s", bad[i]);
    }
}
END_TEST

/* ---- files ---- */

static char folder[] = "/tmp/test_fetch.XXXXXX";

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* Reads a URL in which DIR stands for the folder; `in` in it is the one that is allowed. */
static int get(const char *url, char out[64], struct err *e)
{
    char full[512], in[256];
    unsigned char *data = NULL;
    size_t n = 0;
    const char *at = strstr(url, "DIR");
    snprintf(in, sizeof in, "%s/in", folder);
    snprintf(full, sizeof full, "%.*s%s%s", (int)(at ? at - url : 0), url, at ? folder : "", at ? at + 3 : url);
    int rc = local_read(full, in, 10, &data, &n, e);
    *out = '\0';
    if (rc == 0)
        snprintf(out, 64, "%.*s", (int)n, (char *)data);
    free(data);
    return rc;
}

START_TEST(test_local_files)
{
    char path[256], to[256], out[64];
    struct err e;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    static const char *const dirs[] = { "in", "in/deep", "inner" };
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, dirs[i]);
        ck_assert_int_eq(mkdir(path, 0700), 0);
    }
    put("in/a.png", "picture");
    put("in/deep/b c.png", "deep");
    put("in/large", "more than ten bytes");
    put("in/empty", "");
    put("secret", "secret");
    put("inner/secret", "secret");
    snprintf(path, sizeof path, "%s/in/link", folder);
    snprintf(to, sizeof to, "%s/secret", folder);
    ck_assert_int_eq(symlink(to, path), 0);
    snprintf(path, sizeof path, "%s/in/up", folder);
    ck_assert_int_eq(symlink("..", path), 0);
    static const char *const good[][2] = {
        { "file://DIR/in/a.png", "picture" }, { "file://localhostDIR/in/a.png", "picture" },
        { "FILE:DIR/in/a.png", "picture" },
        { "file://DIR/in/deep/b%20c.png", "deep" }, { "file://DIR/in/%61.png?x#y", "picture" },
        { "file://DIR/in//a.png", "picture" },
    };
    static const char *const bad[] = {
        "file://DIR/secret", "file://DIR/in/../secret", "file://DIR/in/%2e%2e/secret", "file://DIR/in/%2E./secret",
        "file://DIR/in/..%2fsecret",
        "file://DIR/in/deep/../../secret", "file://DIR/in/link", "file://DIR/in/up/secret", "file://DIR/inner/secret",
        "file://DIR/in", "file://DIR/in/",
        "file://DIR/in/a.png%00.png", "file://DIR/in/deep", "file://DIR/in/large", "file://DIR/in/empty",
        "file://DIR/in/absent", "file:///etc/passwd",
        "file://hostDIR/in/a.png", "file:in/a.png", "file:", "file:////etc/passwd", "file://DIR/in/./a.png",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(get(good[i][0], out, &e) == 0, "%s: %s", good[i][0], e.text);
        ck_assert_str_eq(out, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(get(bad[i], out, &e) == -1 && *e.text, "%s", bad[i]);
    snprintf(path, sizeof path, "rm -r %s", folder);
    ck_assert_int_eq(system(path), 0);
}
END_TEST

/* ---- what is kept ---- */

START_TEST(test_kept_files_are_bounded)
{
    static struct kept k;
    char etag[KEPT_ETAG], from[TRANSFER_URL], out[8];
    kept_init(&k, 10);
    kept_put(&k, "a", "a2", "\"1\"", "aaaa", 4);
    kept_put(&k, "b", "b", "\"2\"", "bbbb", 4);
    kept_find(&k, "a", etag, from);
    ck_assert_str_eq(etag, "\"1\"");
    ck_assert_str_eq(from, "a2");
    ck_assert_uint_eq(kept_copy(&k, "a", "\"1\"", out, 4), 4);         /* now b is the oldest */
    kept_put(&k, "c", "c", "\"3\"", "cccc", 4);
    ck_assert_uint_eq(kept_size(&k, "b", "\"2\""), 0);
    ck_assert_uint_eq(kept_size(&k, "a", "\"1\""), 4);
    kept_put(&k, "a", "a", "\"4\"", "AA", 2);
    ck_assert_uint_eq(kept_copy(&k, "a", "\"1\"", out, 4), 0);
    ck_assert_uint_eq(kept_copy(&k, "a", "\"4\"", out, 2), 2);
    kept_put(&k, "d", "d", "\"5\"", "ddddddddddd", 11);
    ck_assert_uint_eq(k.bytes, 6);
    for (int i = 0; i < 2 * KEPT_FILES; i++) {
        char url[16];
        snprintf(url, sizeof url, "%d", i);
        kept_put(&k, url, url, "\"x\"", "", 0);
    }
    ck_assert_uint_eq(k.bytes, 0);
    kept_free(&k);
}
END_TEST

/* ---- hashes ---- */

/* The examples of FIPS 180-4, in parts of every length. */
START_TEST(test_hashes_in_parts)
{
    static const char text[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    char hex[65];
    for (size_t part = 1; part <= sizeof text; part++) {
        struct sha1   a;
        struct sha256 b;
        sha1_begin(&a);
        sha256_begin(&b);
        for (size_t at = 0; at < sizeof text - 1; at += part) {
            size_t n = sizeof text - 1 - at < part ? sizeof text - 1 - at : part;
            sha1_add(&a, text + at, n);
            sha256_add(&b, text + at, n);
        }
        sha1_end(&a, hex);
        ck_assert_str_eq(hex, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        sha256_end(&b, hex);
        ck_assert_str_eq(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fetch");
    TCase *t = tcase_create("fetch");
    tcase_add_test(t, test_hub_names);
    tcase_add_test(t, test_what_a_hub_says);
    tcase_add_test(t, test_public_addresses);
    tcase_add_test(t, test_names_and_addresses);
    tcase_add_test(t, test_spellings);
    tcase_add_test(t, test_lists_that_are_none);
    tcase_add_test(t, test_local_files);
    tcase_add_test(t, test_kept_files_are_bounded);
    tcase_add_test(t, test_hashes_in_parts);
    suite_add_tcase(s, t);
    return suite_run(s);
}
