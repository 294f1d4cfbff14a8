/* The Hugging Face families on the backends whose memory is the host's. */
#include <stdbool.h>

static const char *const backends[] = { "ref", "cpu", 0 };
static const bool thorough = true;

#include "tests/model/families.c"

int main(void)
{
    Suite *s = suite_create("families");
    family_tests(s);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
