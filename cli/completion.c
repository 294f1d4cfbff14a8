/* cli/completion.c - completion for bash and zsh: the commands, the options that each takes, and the values of those
 * options that have a list of them. See manual.h. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/manual.h"

static void put_name(void *arg, const struct option_text *row)
{
    (void)arg;
    printf(" --%s", row->name);
}

/* A case of the shell for an option with a list of values: "--device) words='auto cpu' ;;" */
static void put_values(void *arg, const struct option_text *row)
{
    (void)arg;
    if (!row->choice)
        return;
    printf("        --%s) words='", row->name);
    for (const char *p = row->arg; *p; p++)
        putchar(*p == '|' ? ' ' : *p);
    puts("' ;;");
}

static void put_commands(void)
{
    for (int i = 0; i < n_commands; i++)
        printf("%s%s", i ? " " : "", commands[i].name);
}

/* Completes a word from: the commands in the first place, the values of the option before it, the options of the
 * command; and files otherwise. Both shells run the same body. */
static void put_body(void)
{
    puts("    local command=${line[1]} words='' now=${line[$at]} before=${line[$((at - 1))]}");
    puts("    if [ \"$at\" -eq 1 ]; then");
    fputs("        words='", stdout);
    put_commands();
    puts("'\n    else\n        case $command in");
    for (int i = 0; i < n_commands; i++) {
        if (!commands[i].groups)
            continue;
        printf("        %s) words='--help", commands[i].name);
        options_each(commands[i].groups, put_name, NULL);
        puts("' ;;");
    }
    fputs("        completion) words='bash zsh' ;;\n        help) words='", stdout);
    put_commands();
    puts("' ;;\n        esac\n        case $now in -*) ;; *)\n"
         "            case $command in completion | help) ;; *) words='' ;; esac ;;\n        esac\n"
         "        case $before in");
    options_each(OPT_ALL, put_values, NULL);
    puts("        esac\n    fi");
}

static void put_bash(void)
{
    puts("# completion of openautoglm for bash\n_openautoglm() {\n"
         "    local at=$COMP_CWORD line=(\"${COMP_WORDS[@]}\")");
    put_body();
    puts("    COMPREPLY=($(compgen -W \"$words\" -- \"$now\"))\n}\ncomplete -o default -F _openautoglm openautoglm");
}

/* zsh counts from one. */
static void put_zsh(void)
{
    puts("#compdef openautoglm\n# completion of openautoglm for zsh\n_openautoglm() {\n"
         "    emulate -L zsh -o ksh_arrays\n    local at=$((CURRENT - 1)) line\n    line=(\"${words[@]}\")");
    put_body();
    puts("    if [ -n \"$words\" ]; then compadd -- ${=words}; else _files; fi\n}\n_openautoglm \"$@\"");
}

int command_completion(int argc, char **argv)
{
    const char *shell = argc == 2 ? argv[1] : "";
    if (strcmp(shell, "bash") == 0)
        put_bash();
    else if (strcmp(shell, "zsh") == 0)
        put_zsh();
    else
        return fputs("usage: openautoglm completion bash|zsh\n", stderr), EXIT_USAGE;
    return 0;
}
