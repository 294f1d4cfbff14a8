/* model/families.c - the families that this program knows. */
#include "model/model.h"

extern const struct family family_open_autoglm;

const struct family *const families[] = {
    &family_open_autoglm,
    NULL,
};
