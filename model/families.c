/* model/families.c - the families that this program knows. */
#include "model/model.h"

extern const struct family family_open_autoglm, family_glm4v, family_glm4;

const struct family *const families[] = {
    &family_open_autoglm, &family_glm4v, &family_glm4,
    NULL,
};
