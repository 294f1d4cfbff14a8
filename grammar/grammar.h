/* grammar/grammar.h - which texts an answer may be: sources that clients send, and the grammar compiled of them.
 *
 *     struct grammar_source s = { .kind = GRAMMAR_REGEX, .field = "regex", .text = "[0-9]+", .n = 6 };
 *     struct grammar *g = grammar_compile(&s, &e);          // any thread; NULL: e names the field
 *     ... matcher.h: the mask of tokens that may come next ...
 *     grammar_unref(g);
 *
 * A compiled grammar is constant: any number of threads and matchers may share it. Sources are hostile input: the work
 * of compiling one, the memory of what comes out and the depth of both are bounded, and whoever asks for more hears at
 * which limit it ended.
 *
 * Three engines were looked at before this room was written. xgrammar (C++, behind vLLM and SGLang) comes as a source
 * distribution with its own copies of several libraries and is in no Debian release, so that a build could only have
 * it by keeping its sources here. llguidance has a C header, but needs a Rust toolchain of its own. llama.cpp's engine
 * asks every token of the vocabulary at every step. What is here takes the first one's idea, a pushdown automaton over
 * bytes whose states know most of their tokens in advance. docs/structured-output.md compares the speeds. */
#ifndef GRAMMAR_GRAMMAR_H
#define GRAMMAR_GRAMMAR_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct grammar;

enum grammar_kind {
    GRAMMAR_JSON,              /* any JSON object                                                             */
    GRAMMAR_SCHEMA,            /* the JSON that `json`, a JSON Schema, describes                              */
    GRAMMAR_REGEX,             /* what the regular expression `text` matches from beginning to end            */
    GRAMMAR_EBNF,              /* `text` is a grammar in GBNF, or in the notation of Lark; which, is seen by itself */
    GRAMMAR_CHOICE,            /* one of the strings in `json`, an array                                      */
    GRAMMAR_ACTIONS,           /* free text, then one do(...) or finish(...) of the phone agent               */
    GRAMMAR_LITERAL,           /* exactly `text`; special tokens that are spelled so count as their text      */
    GRAMMAR_SEQUENCE,          /* the parts, one after the other                                              */
    GRAMMAR_ANY_OF,            /* one of the parts                                                            */
    GRAMMAR_REPEAT,            /* part[0], from `least` to `most` times                                       */
    GRAMMAR_FREE,              /* any text up to and including the first place where one of the parts stands,
                                  which are GRAMMAR_LITERAL; without parts: any text at all                   */
    GRAMMAR_TAGS,              /* free text with tags in it, see below                                        */
    GRAMMAR_TEXT,              /* the string that `json`, a JSON Schema, describes, written as it is, up to and
                                  including the first place where `text` stands                               */
};

struct grammar_tag;

/* A description of texts. Everything is borrowed until grammar_compile() returns. */
struct grammar_source {
    enum grammar_kind kind;
    const char *field;         /* whose fault an error is, as the client named it; NULL: that of the whole */
    const json_t *json;        /* GRAMMAR_SCHEMA, GRAMMAR_TEXT, GRAMMAR_CHOICE                          */
    const json_t *root;        /* GRAMMAR_SCHEMA, GRAMMAR_TEXT: the document to which its $ref lead; NULL: `json` */
    bool closed;               /* GRAMMAR_SCHEMA: an object whose properties are named has no others unless its schema
                                  says so, as with "strict" in OpenAI's API                             */
    const char *text;          /* GRAMMAR_REGEX, _EBNF, _LITERAL, _TEXT: `n` bytes                      */
    size_t n;
    const struct grammar_source *part;     /* (n_parts) */
    int    n_parts;
    int    least, most;        /* GRAMMAR_REPEAT; most < 0: no limit                                    */
    const struct grammar_tag *tag;         /* GRAMMAR_TAGS: (n_tags)                                    */
    int    n_tags;
    const char *const *trigger;            /* (n_triggers): where one of these stands in the free text, a tag begins.
                                              Every tag's `begin` begins with one. None: no free text, tags alone    */
    int    n_triggers;
    const char *separator;     /* between two tags where there is no free text; NULL: nothing           */
    bool   at_least_one;       /* the text may not end before a tag was there                           */
    bool   at_most_one;        /* the text ends with the first tag                                      */
};

/* begin, what `content` describes, end: a call of a tool, say. */
struct grammar_tag {
    const char *begin, *end;   /* borrowed; neither NULL */
    struct grammar_source content;
};

/* What a compiled grammar may be at most. */
enum {
    GRAMMAR_MAX_TEXT = 2 << 20,    /* bytes of a source                                                           */
    GRAMMAR_MAX_STATES = 200000,   /* of all its automata                                                         */
    GRAMMAR_MAX_DEPTH = 256,       /* of rules within one another while an answer is made; deeper is not offered  */
    GRAMMAR_MAX_NESTING = 100,     /* of brackets within one another in a source                                  */
    GRAMMAR_BYTES = 112 << 20,      /* memory of those that are kept, and of the one that is being compiled        */
};

/* NULL: the source is wrong, asks for what is not supported, or goes beyond a limit (status 400), or memory is out
 * (503). */
struct grammar *grammar_compile(const struct grammar_source *source, struct err *e);
/* The same, or one that was compiled of an equal source lately. */
struct grammar *grammar_cached(const struct grammar_source *source, struct err *e);
struct grammar *grammar_ref(struct grammar *g);        /* one more owner; returns g            */
void            grammar_unref(struct grammar *g);      /* the last one frees it; NULL is fine  */
size_t          grammar_bytes(const struct grammar *g);

#endif
