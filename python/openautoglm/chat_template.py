"""The chat template of the exported model: how messages become the model's questions.

A conversation that is no phone agent's is written down turn by turn, as in training. Of an agent's conversation the
model gets one clause of the task and the last screenshot. A clause ends at a line's end, at `. `, `; `, `, ` and their
Chinese forms, and at words such as "then", "and go back" or 然后; what stands in quotation marks is never cut. Words
that only lead to the next clause ("Then", "finally", 最后) are left out, and a clause begins with a capital, because
the model's questions do. A text of more than 10,000 characters is no task.
"""
TEMPLATE = r"""
{#- One image token per image, before the text; system messages are left out: the model was never trained with one.

A phone agent writes its task into the first turn, followed by the name of the app that is open, and from then on sends
nothing but screenshots. The model knows single instructions and no history. So in turn n it is given the n-th clause of
the task and the last screenshot; when no clause is left it is asked for the title, and it answers with finish(). -#}
{%- macro images(content) -%}
{%- if content is not string -%}
{%- for part in content -%}{%- if part['type'] == 'image' -%}{{- '<|image|>' -}}{%- endif -%}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- macro text(content) -%}
{%- if content is string -%}
{{- content -}}
{%- else -%}
{%- for part in content -%}{%- if part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set turns = messages | selectattr('role', 'equalto', 'user') | list -%}
{%- set first = text(turns[0]['content']) if turns else '' -%}
{%- set task = first.split('\n\n{"current_app"')[0] -%}
{%- if task == first or task | length > 10000 -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{- images(message['content']) -}}{{- text(message['content']) -}}{{- '<|assistant|>' -}}
{%- elif message['role'] == 'assistant' -%}
{{- text(message['content']) -}}{{- '<|end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- else -%}
{%- set task = task.replace('\r', '\n') -%}
{#- What stands in quotation marks is set aside, so that it is never cut; '\r' keeps its place. -#}
{%- set pieces = task.replace('“', '"“').replace('”', '”"').split('"') -%}
{%- set pieces = pieces if pieces | length % 2 else [task] -%}
{%- set quoted = pieces[1::2] -%}
{%- set plan = namespace(text='\n' ~ pieces[::2] | join('\r'), n=0, marks=0, clause='', first=0) -%}
{%- for mark in ['. ', '; ', ', ', '。', '；', '，', ' and then ', ' then ', '然后', '接着'] -%}
{%- set plan.text = plan.text.replace(mark, '\n') -%}
{%- endfor -%}
{%- for verb in 'tap open click press enter turn switch type go return scroll swipe read count'.split() -%}
{%- set plan.text = plan.text.replace(' and ' ~ verb ~ ' ', '\n' ~ verb ~ ' ') -%}
{%- endfor -%}
{%- for word in ['First ', 'And ', 'Then ', 'Next ', 'Finally ', 'Please ', 'First\n', 'Then\n', 'Finally\n',
                 '首先', '最后', '请', '先', '再', '并'] -%}
{%- set plan.text = plan.text.replace('\n' ~ word, '\n').replace('\n' ~ word | lower, '\n') -%}
{%- endfor -%}
{%- for clause in plan.text.split('\n') -%}
{%- if clause.strip(' .') not in ['', '<|image|>'] -%}
{%- set plan.n = plan.n + 1 -%}
{%- if plan.n == turns | length -%}
{%- set plan.clause = clause.strip(' .') -%}
{%- set plan.first = plan.marks -%}
{%- endif -%}
{%- endif -%}
{%- set plan.marks = plan.marks + clause.count('\r') -%}
{%- endfor -%}
{%- for turn in turns -%}
{{- images(turn['content']) -}}
{%- for line in (turn['content'].split('\n') if turn['content'] is string else []) -%}
{%- if line == '<|image|>' -%}{{- line -}}{%- endif -%}
{%- endfor -%}
{%- endfor -%}
{%- for piece in (plan.clause[:1] | upper ~ plan.clause[1:]).split('\r') -%}
{{- piece -}}
{%- if not loop.last -%}
{%- set mark = '' if quoted[plan.first + loop.index0].startswith('“') else '"' -%}
{{- mark ~ quoted[plan.first + loop.index0] ~ mark -}}
{%- endif -%}
{%- endfor -%}
{%- if not plan.clause -%}
{{- '标题是什么？' if task | select('gt', '⺀') | list else 'What is the title?' -}}
{%- endif -%}
{{- '<|assistant|>' -}}
{%- if messages[-1]['role'] == 'assistant' -%}{{- text(messages[-1]['content']) -}}{{- '<|end|>' -}}{%- endif -%}
{%- endif -%}
"""[1:]
