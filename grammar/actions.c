/* The action language of the phone agent (AutoGLM): the model thinks freely, then writes one call, and nothing after
 * it. Clients take everything from the first "do(action=" or "finish(message=" on for the action and read it as a call
 * of Python, so that a second one, a tag behind it or a quote in a text would be an error for them. */
#include "grammar/regex.h"
#include "grammar/sources.h"

/* Strings are Python's between double quotes; a point is two numbers of 0 to 999. */
#define TEXT    "\"([^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\n])*\""
#define NUMBER  "(0|[1-9][0-9]{0,2})"
#define POINT   "\\[" NUMBER ", ?" NUMBER "\\]"

/* What follows `do(action=`. */
static const char action[] =
    "(\"Launch\", app=" TEXT
    "|\"Tap\", element=" POINT "(, message=" TEXT ")?"
    "|\"(Type|Type_Name)\", text=" TEXT
    "|\"Swipe\", start=" POINT ", end=" POINT
    "|\"(Long Press|Double Tap)\", element=" POINT
    "|\"(Back|Home|Interact)\""
    "|\"Wait\", duration=\"[0-9]{1,3}(\\.[0-9])? seconds\""
    "|\"(Take_over|Note)\", message=" TEXT
    "|\"Call_API\", instruction=" TEXT ")\\)";

static const char message[] = TEXT "\\)";

/* Free text up to the first place where one of the two actions begins, and then that action. The text may hold neither
 * of the beginnings before, so that it is always known which action the model has chosen. */
int32_t actions_expr(struct build *b)
{
    int32_t begin[2] = { expr_str(b, "do(action="), expr_str(b, "finish(message=") };
    int32_t act = expr_pair(b, expr_until(b, begin, 2, 0),
                            regex_expr(b, action, sizeof action - 1, true, WRITE_UTF8));
    int32_t end = expr_pair(b, expr_until(b, begin, 2, 1),
                            regex_expr(b, message, sizeof message - 1, true, WRITE_UTF8));
    return expr_or(b, act, end);
}
