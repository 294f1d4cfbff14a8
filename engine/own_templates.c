/* engine/own_templates.c - see own_templates.h. */
#include "engine/own_templates.h"

#include <stddef.h>
#include <string.h>

/* Kosmos-2 goes on with one text about at most one image, which stands first, as its processor has it; roles are not
 * written. `grounding` begins the text with the tag that asks for places, unless it has the tag; that is put together
 * from two texts, so that the token is not reserved for the template. */
static const char kosmos2[] =
    "{{- bos_token }}\n"
    "{%- set ns = namespace(images=0, text='') %}\n"
    "{%- for m in messages %}\n"
    "    {%- if m.content is string %}\n"
    "        {%- set ns.text = ns.text + ' ' + m.content %}\n"
    "    {%- else %}\n"
    "        {%- for p in m.content %}\n"
    "            {%- if p.type == 'image' %}\n"
    "                {%- set ns.images = ns.images + 1 %}\n"
    "            {%- else %}\n"
    "                {%- set ns.text = ns.text + ' ' + p.text %}\n"
    "            {%- endif %}\n"
    "        {%- endfor %}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if ns.images > 1 %}\n"
    "    {{- raise_exception('this model looks at one image, and the chat has ' ~ ns.images) }}\n"
    "{%- elif ns.images %}<image></image>\n"
    "{%- endif %}\n"
    "{%- set tag = '<' ~ 'grounding>' %}\n"
    "{%- if grounding and tag not in ns.text %}\n"
    "    {{- ' ' ~ tag }}\n"
    "{%- endif %}\n"
    "{{- ns.text }}\n";

/* PaliGemma goes on with one text about its images, as its processor writes it: the images' places, bos, the text, a
 * line break. Texts of several parts or messages are joined by spaces, and roles are not written. */
static const char paligemma[] =
    "{%- set ns = namespace(text='') %}\n"
    "{%- for m in messages %}\n"
    "    {%- if m.content is string %}\n"
    "        {%- set ns.text = ns.text ~ (' ' if ns.text else '') ~ m.content %}\n"
    "    {%- else %}\n"
    "        {%- for p in m.content %}\n"
    "            {%- if p.type == 'image' %}\n"
    "                {{- '<image>' }}\n"
    "            {%- else %}\n"
    "                {%- set ns.text = ns.text ~ (' ' if ns.text else '') ~ p.text %}\n"
    "            {%- endif %}\n"
    "        {%- endfor %}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{{- bos_token ~ ns.text ~ '\\n' }}\n";

static const struct { const char *model_type, *text; } own[] = {
    { "kosmos-2", kosmos2 },
    { "paligemma", paligemma },
};

const char *own_template(const char *model_type)
{
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i].model_type, model_type) == 0)
            return own[i].text;
    return NULL;
}
