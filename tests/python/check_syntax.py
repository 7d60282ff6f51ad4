"""Says whether files parse, in the eyes of Python's own parsers: lines of `LANGUAGE<tab>PATH` in, one `1` or `0` a line out."""

import ast
import json
import sys
import warnings

import yaml

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def unique(pairs):
    return dict(pairs)


def parse(language, text):
    if language == "python":
        ast.parse(text)
    elif language == "json":
        json.loads(text, object_pairs_hook=unique)
    elif language == "toml":
        tomllib.loads(text)
    elif language == "yaml":
        for _ in yaml.parse(text, Loader=LOADER):
            pass
    else:
        raise SystemExit(f"no parser for {language}")


def parses(language, path):
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    try:
        parse(language, text)
    except (SyntaxError, ValueError, RecursionError, yaml.YAMLError):
        return False
    return True


warnings.simplefilter("ignore")
for line in sys.stdin:
    language, path = line.rstrip("\n").split("\t")
    print(int(parses(language, path)))
