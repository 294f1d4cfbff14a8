/* cli/main.c - the commands of the program. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_watch.h"
#include "cli/command.h"
#include "cli/compare.h"
#include "cli/hub.h"
#include "cli/mark.h"
#include "cli/preprocess.h"
#include "cli/quantize.h"
#include "cli/render.h"
#include "cli/selftest.h"
#include "cli/tokenize.h"

static int command_defaults(int argc, char **argv);
static int command_version(int argc, char **argv);
static int command_help(int argc, char **argv);

static const struct command {
    const char *name;
    int       (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    { "serve", command_serve, "the HTTP server" },
    { "chat", command_chat, "one answer on the terminal: chat --image x.png \"what is on the screen?\"" },
    { "plan", command_plan, "what a model needs of the memory, before it is loaded" },
    { "quantize", command_quantize, "a checkpoint whose weights are made smaller once, and then start at once" },
    { "pull", command_pull, "fetch a model by its name on a hub: pull ORG/NAME[@REVISION]" },
    { "list", command_list, "the models that were fetched" },
    { "rm", command_rm, "remove one of them" },
    { "mark", command_mark, "a copy of a screenshot with the point of an action on it" },
    { "tokenize", command_tokenize, "strings on standard input to token ids" },
    { "detokenize", command_detokenize, "and back" },
    { "render", command_render, "chat templates on standard input to text" },
    { "preprocess", command_preprocess, "what becomes of an image: sizes, tokens, a hash of the pixel values" },
    { "selftest", command_selftest, "is this checkpoint, and this program, right? A verdict per stage" },
    { "compare", command_compare, "how far the predictions of two models, or of two precisions of one, are apart" },
    { "defaults", command_defaults, "every option's default as a file for --config" },
    { "version", command_version, "the program's version" },
    { "help", command_help, "this list" },
};

/* The same text as config/default.json. */
static int command_defaults(int argc, char **argv)
{
    (void)argc, (void)argv;
    struct buf json;
    buf_init(&json, 1 << 20);
    options_json(&json, OPT_ENGINE | OPT_SERVER);
    fputs(json.data, stdout);
    buf_free(&json);
    return 0;
}

static int command_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("openautoglm " VERSION);
    return 0;
}

/* The list of commands, as `help` prints it. */
static void print_commands(FILE *out)
{
    fputs("usage: openautoglm COMMAND [OPTION...]\n\n", out);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    fputs("\n`openautoglm COMMAND --help` lists a command's options.\n", out);
}

static int command_help(int argc, char **argv)
{
    (void)argc, (void)argv;
    print_commands(stdout);
    return 0;
}

/* Finds the command by its name. -h, --help and --version are taken as the commands of those names. jansson's
 * allocator is set before anything uses it. */
int main(int argc, char **argv)
{
    json_watch();
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "--version") == 0)
        name += strspn(name, "-");
    if (strcmp(name, "h") == 0)
        name = "help";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (argc > 1)
        fprintf(stderr, "openautoglm: there is no command '%s'\n\n", argv[1]);
    print_commands(stderr);
    return EXIT_USAGE;
}
