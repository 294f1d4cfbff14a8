/* config/options.h - every setting of the program, from one table.
 *
 * A row of options.inc gives a setting its name, type, range, default and help;
 * from it follow the field below, the command line (`--max-num-seqs 8`), the
 * environment (OPENAUTOGLM_MAX_NUM_SEQS=8), the JSON file of `--config`
 * ("max_num_seqs": 8), `--help` and the documented config/default.json.
 * The command line wins over the environment, that over the file, that over
 * the default. Commands share the table; a row says to which it belongs.
 *
 * The engine takes the part of the settings that concerns it, as it is: struct
 * engine_config.
 *
 *     struct config c;
 *     if (options_parse(&c, OPT_ENGINE | OPT_SERVER, argc, argv, &e) != 0) ...   // e names the option and its source
 *     options_free(&c); */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

enum option_group {
    OPT_ENGINE = 1, OPT_SERVER = 2, OPT_CHAT = 4, OPT_PLAN = 8, OPT_QUANTIZE = 32, OPT_HEALTH = 64,
    OPT_BENCH = 128, OPT_LIBRARY = 256, OPT_CLASSIFY = 512,
    OPT_ALL = 1007,
    OPT_GPU = 16,                 /* beside another: a CPU has no use for it */
};

enum { OPTIONS_MAX_LIST = 64 };

struct string_list {
    char *item[OPTIONS_MAX_LIST]; /* owned */
    int   n;
};

/* The fields that rows of each type have. */
#define FIELD_TEXT   char *
#define FIELD_CHOICE char *
#define FIELD_LIST   struct string_list
#define FIELD_INT    int
#define FIELD_LONG   int64_t
#define FIELD_SIZE   size_t
#define FIELD_REAL   double
#define FIELD_BOOL   bool

/* Each row's number, in the order of the table. */
enum option {
#define ENGINE(type, name, ...) OPTION_##name,
#define OPTION(type, name, ...) OPTION_##name,
#define SECTION(title)
#include "config/options.inc"
    N_OPTIONS
};

/* Strings are never NULL; "" where nothing was set. In a struct config they are owned by it. */
struct engine_config {
#define ENGINE(type, name, ...) FIELD_##type name;
#define OPTION(type, name, ...)
#define SECTION(title)
#include "config/options.inc"
};

struct config {
    struct engine_config engine;
#define ENGINE(type, name, ...)
#define OPTION(type, name, ...) FIELD_##type name;
#define SECTION(title)
#include "config/options.inc"
    /* where the values came from */
    bool   help;                  /* --help was given                */
    bool   given[N_OPTIONS];      /* by row: not the default         */
    struct string_list rest;      /* arguments that are not options  */
};

/* The default of every row. */
void options_init(struct config *c);

/* argv[0] is skipped. Groups name the rows that the command line may use; the
 * environment and the file may set any row. -1: e->field is the option. To be freed in any case. */
int  options_parse(struct config *c, unsigned groups, int argc, char **argv, struct err *e);
/* The same for a library: from the environment, and from a JSON object in the form of the file, whose keys must be rows
 * of the groups. */
int  options_from_json(struct config *c, unsigned groups, const char *json, struct err *e);
void options_free(struct config *c);

bool options_given(const struct config *c, const char *name);
/* "--a, --b": the options of the groups that somebody set to other than their default; "" if none. Cut to n bytes. */
void options_changed(const struct config *c, unsigned groups, char *out, size_t n);
/* The rows of the groups in their sections, in lines of less than 100 columns. */
void options_help(FILE *out, unsigned groups);

/* What people read of a row: in the manual, and while they type. */
struct option_text {
    const char *name;             /* as on the command line, without the dashes; valid during the call          */
    const char *arg;              /* what the value is; choices with '|' between them; "" of a flag             */
    const char *help, *def;
    bool choice;                  /* arg lists all values that there are                                        */
};
/* Calls `each` for every row of the groups, in the order of the table. */
void options_each(unsigned groups, void (*each)(void *arg, const struct option_text *row), void *arg);

/* The defaults of the groups' rows as a JSON object; of the server's and the engine's that is config/default.json. */
void options_json(struct buf *out, unsigned groups);

#endif
