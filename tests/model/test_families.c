/* The Hugging Face families on the backends whose memory is the host's. */
#include <stdbool.h>

static const char *const backends[] = { "ref", "cpu", 0 };
static const bool thorough = true;

#include "tests/model/families.c"
#include "tests/model/vectors.c"
#include "tests/suite.h"

int main(void)
{
    Suite *s = suite_create("families");
    family_tests(s);
    vector_tests(s);
    return suite_run(s);
}
