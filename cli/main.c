/* cli/main.c - the commands of the program. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_watch.h"
#include "base/nearest.h"
#include "base/wrap.h"
#include "cli/bench.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/compare.h"
#include "cli/doctor.h"
#include "cli/health.h"
#include "cli/hub.h"
#include "cli/manual.h"
#include "cli/mark.h"
#include "cli/preprocess.h"
#include "cli/quantize.h"
#include "cli/render.h"
#include "cli/selftest.h"
#include "cli/tokenize.h"
#include "cli/version.h"

static int command_defaults(int argc, char **argv);
static int command_help(int argc, char **argv);

const struct command commands[] = {
    { "Serving", "serve", command_serve, OPT_ENGINE | OPT_SERVER, NULL, "the HTTP server" },
    { NULL, "health", command_health, OPT_HEALTH, NULL,
      "does the server on this machine serve? Exit status 0: yes, 1: no" },
    { NULL, "bench", command_bench, OPT_BENCH, NULL,
      "load for any server that speaks OpenAI's API, and how fast it answers" },
    { "Without a server", "chat", command_chat, OPT_ENGINE | OPT_CHAT, NULL,
      "one answer: chat --image x.png \"what is on the screen?\"; without a question a conversation" },
    { NULL, "classify", command_classify, OPT_ENGINE | OPT_CLASSIFY, NULL,
      "which of some classes pictures belong to: classify --labels \"a cat,a dog\" --image x.png" },
    { NULL, "mark", command_mark, 0, "SCREENSHOT ACTION OUT.png",
      "a copy of a screenshot with the points of an action on it, such as 'do(action=\"Tap\", element=[500,300])'" },
    { "Before anything is loaded", "doctor", command_doctor, OPT_ENGINE | OPT_PLAN, NULL,
      "what this machine offers, what would be chosen for a model, and whether it fits; a verdict each" },
    { NULL, "plan", command_plan, OPT_ENGINE | OPT_PLAN, NULL,
      "what a model needs of the memory, before it is loaded" },
    { "Models", "pull", command_pull, 0, NULL, "fetch a model by its name on a hub: pull ORG/NAME[@REVISION]" },
    { NULL, "list", command_list, 0, NULL, "the models that were fetched" },
    { NULL, "rm", command_rm, 0, NULL, "remove one of them" },
    { NULL, "quantize", command_quantize, OPT_QUANTIZE, NULL,
      "a checkpoint whose weights are made smaller once, and then start at once" },
    { "Checks", "selftest", command_selftest, 0, NULL,
      "is this checkpoint, and this program, right? A verdict per stage" },
    { NULL, "compare", command_compare, 0, NULL,
      "how far the predictions of two models, or of two precisions of one, are apart" },
    { NULL, "tokenize", command_tokenize, 0, "--model DIR [--special]",
      "strings on standard input to token ids, one JSON value a line" },
    { NULL, "detokenize", command_detokenize, 0, "--model DIR [--skip-special]", "and back" },
    { NULL, "render", command_render, 0, "[--now TIME]",
      "chat templates on standard input to text: {\"template\": ..., \"context\": ...} a line" },
    { NULL, "preprocess", command_preprocess, 0, NULL,
      "what becomes of an image: sizes, tokens, a hash of the pixel values" },
    { "About the program", "defaults", command_defaults, 0, "", "every option's default as a file for --config" },
    { NULL, "manual", command_manual, 0, "", "the manual page, for man(1)" },
    { NULL, "completion", command_completion, 0, "bash|zsh", "a script that completes these words in a shell" },
    { NULL, "version", command_version, 0, "", "version, commit, compiler and backends" },
    { NULL, "help", command_help, 0, "[COMMAND]", "this list, or a command's options" },
};
const int n_commands = sizeof commands / sizeof *commands;

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

/* The list of commands, as `help` prints it. */
static void print_commands(FILE *out)
{
    enum { TEXT_COLUMN = 15 };
    fputs("usage: openautoglm COMMAND [OPTION...]\n", out);
    for (int i = 0; i < n_commands; i++) {
        if (commands[i].section)
            fprintf(out, "\n%s:\n", commands[i].section);
        fprintf(out, "  %-*s", TEXT_COLUMN - 2, commands[i].name);
        wrap_print(out, commands[i].help, TEXT_COLUMN, TEXT_COLUMN);
    }
    fputs("\n`openautoglm COMMAND --help` lists a command's options.\n", out);
}

static const struct command *find_command(const char *name)
{
    for (int i = 0; i < n_commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

/* An unknown command: says what was probably meant. */
static int no_command(const char *name)
{
    struct nearest near;
    nearest_begin(&near, name, strlen(name));
    for (int i = 0; i < n_commands; i++)
        nearest_offer(&near, commands[i].name);
    fprintf(stderr, "openautoglm: there is no command '%s'", name);
    fprintf(stderr, *near.best ? "; did you mean %s?\n" : "; `openautoglm help` lists them%s\n", near.best);
    return EXIT_USAGE;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

/* The help of commands that take few arguments comes from the table; the others print their own. */
static int run_command(const struct command *c, int argc, char **argv)
{
    if (!c->usage || argc < 2 || !asks_for_help(argv[1]))
        return c->run(argc, argv);
    printf("usage: openautoglm %s%s%s\n\n", c->name, *c->usage ? " " : "", c->usage);
    wrap_print(stdout, c->help, 0, 0);
    return 0;
}

/* `help` lists the commands, and `help COMMAND` is the same as `COMMAND --help`. */
static int command_help(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stdout);
        return 0;
    }
    const struct command *c = find_command(argv[1]);
    char help[] = "--help", *asking[] = { argv[1], help, NULL };
    return c ? run_command(c, 2, asking) : no_command(argv[1]);
}

/* Finds the command by its name. -h, --help and --version are taken as the commands of those names. jansson's
 * allocator is set before anything uses it. */
int main(int argc, char **argv)
{
    json_watch();
    const char *name = argc > 1 ? argv[1] : "";
    if (asks_for_help(name))
        name = "help";
    else if (strcmp(name, "--version") == 0)
        name = "version";
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    const struct command *c = find_command(name);
    return c ? run_command(c, argc - 1, argv + 1) : no_command(name);
}
