"""Chat templates that try to get out, to use up the machine or to crash the renderer (promise P20). Two lists: those whose only
outcome may be an error, and those that may also render, but to nothing that came from outside the template."""

from __future__ import annotations

from itertools import product

_OBJECTS = ("''", "messages", "tools", "messages[0]", "raise_exception", "strftime_now", "cycler", "lipsum", "namespace()", "self")
_ESCAPES = ("{o}.__class__.__mro__[1].__subclasses__()", "{o}.__init__.__globals__['os'].popen('id').read()")

ESCAPES = [
    *("{{ " + escape.replace("{o}", o) + " }}" for o, escape in product(_OBJECTS, _ESCAPES)),
    "{{ ''|attr('__class__')|attr('__mro__') }}",
    "{{ ''['__class__']['__base__']['__subclasses__']() }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{{ ('{0.__cl' ~ 'ass__}').format('') }}",
    "{{ '{x.__class__}'.format_map({'x': ''}) }}",
    "{{ ''.__class__.__base__ }}{% for c in ''.__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.environ }}",
    "{% extends '/etc/passwd' %}",
    "{{ config }}{{ request.application.__globals__ }}",
    "{% set x = messages.append(1) %}{{ messages }}",
    "{% do messages.clear() %}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ [1,2]|groupby('__class__') }}",
]
BOMBS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ ['a' * 10**8] * 100 | join }}{{ 'b' * 10**9 }}",
    "{% set ns = namespace(x='a' * 1000) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '{:>9999999999}'.format('x') }}",
    "{{ 'x'|center(9999999999) }}",
    "{{ lipsum(n=100000) }}",
    "{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}",
    "{% for i in range(50000) recursive %}{{ loop(range(50000)) }}{% endfor %}",
    "{{ (('a' * 50) ~ 'b')|replace('', 'x' * 10**8) }}",
    "{{ range(99999)|list|map('string')|map('center', 100000)|join|length }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{{ unclosed",
    "{% generation %}",
    "{{ undefined.attribute.more }}",
    "{{ 1 / 0 }}",
]
