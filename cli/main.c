/* cli/main.c - the commands of the program. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_watch.h"
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

static int command_defaults(int argc, char **argv);
static int command_version(int argc, char **argv);
static int command_help(int argc, char **argv);

const struct command commands[] = {
    { "serve", command_serve, OPT_ENGINE | OPT_SERVER, "the HTTP server" },
    { "chat", command_chat, OPT_ENGINE | OPT_CHAT,
      "one answer on the terminal: chat --image x.png \"what is on the screen?\"" },
    { "plan", command_plan, OPT_ENGINE | OPT_PLAN, "what a model needs of the memory, before it is loaded" },
    { "doctor", command_doctor, OPT_ENGINE | OPT_PLAN,
      "what this machine offers, what would be chosen for a model, and whether it fits; a verdict each" },
    { "quantize", command_quantize, OPT_QUANTIZE,
      "a checkpoint whose weights are made smaller once, and then start at once" },
    { "pull", command_pull, 0, "fetch a model by its name on a hub: pull ORG/NAME[@REVISION]" },
    { "list", command_list, 0, "the models that were fetched" },
    { "rm", command_rm, 0, "remove one of them" },
    { "health", command_health, OPT_HEALTH, "does the server on this machine serve? Exit status 0: yes, 1: no" },
    { "mark", command_mark, 0, "a copy of a screenshot with the point of an action on it" },
    { "tokenize", command_tokenize, 0, "strings on standard input to token ids" },
    { "detokenize", command_detokenize, 0, "and back" },
    { "render", command_render, 0, "chat templates on standard input to text" },
    { "preprocess", command_preprocess, 0, "what becomes of an image: sizes, tokens, a hash of the pixel values" },
    { "selftest", command_selftest, 0, "is this checkpoint, and this program, right? A verdict per stage" },
    { "compare", command_compare, 0, "how far the predictions of two models, or of two precisions of one, are apart" },
    { "defaults", command_defaults, 0, "every option's default as a file for --config" },
    { "manual", command_manual, 0, "the manual page, for man(1)" },
    { "completion", command_completion, 0, "a script that completes these words in a shell: completion bash|zsh" },
    { "version", command_version, 0, "the program's version" },
    { "help", command_help, 0, "this list" },
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
    for (int i = 0; i < n_commands; i++)
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
    for (int i = 0; i < n_commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (argc > 1)
        fprintf(stderr, "openautoglm: there is no command '%s'\n\n", argv[1]);
    print_commands(stderr);
    return EXIT_USAGE;
}
