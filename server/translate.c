/* server/translate.c - see translate.h. */
#include "server/translate.h"

#include <stdio.h>

#include "server/field_names.h"
#include "server/fields.h"

json_t *translate_begin(const json_t *in, const char *const *own, size_t n_own, json_t **chat, struct err *e)
{
    json_t *messages = json_array();
    *chat = json_copy((json_t *)in);
    for (size_t i = 0; i < n_own; i++)
        json_object_del(*chat, own[i]);
    if (!messages || !*chat || json_object_set_new(*chat, "messages", messages) != 0) {
        err_memory(e);
        return NULL;
    }
    return messages;
}

/* Memory that runs out on the way to the list is seen by the caller of the whole translation, see json_starved(). */
int translate_tools(json_t *chat, json_t *names, const json_t *in, const char *where,
                    json_t *(*function)(json_t *tool, json_t *names, const char *at, struct err *e), struct err *e)
{
    json_t *tools = NULL, *made = json_object_get(chat, "tools");
    if (member_array(in, where, "tools", &tools, e) != 0)
        return -1;
    if (!tools)
        return 0;
    if (!made && json_object_set_new(chat, "tools", made = json_array()) != 0)
        return err_memory(e);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        char    at[80], inner[48];
        json_t *tool = json_array_get(tools, i), *one = NULL;
        snprintf(at, sizeof at, "%.40s%stools[%zu]", where, *where ? "." : "", i);
        snprintf(inner, sizeof inner, "tools[%zu].function", json_array_size(made));
        if (!json_is_dict(tool))
            return fields_wrong(e, "invalid_type", at, "", "must be an object");
        if (!(one = function(tool, names, at, e)))
            return -1;
        if (json_is_null(one))
            continue;
        json_array_append_new(made, json_pack("{s:s, s:o}", "type", "function", "function", one));
        if (field_names_add(names, inner, at, e) != 0)
            return -1;
    }
    return 0;
}
