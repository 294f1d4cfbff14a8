#include "grammar/sources.h"
int32_t schema_expr(struct build *b, const json_t *s)
{
    (void)s;
    return build_fail(b,"is a JSON Schema, which is not supported yet");
}
