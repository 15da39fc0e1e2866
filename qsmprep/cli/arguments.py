"""Types and actions of the command lines' arguments."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from qsmprep.bids.names import LABEL
from qsmprep.cli import exit_codes

LEAST_GB = 1.0
"""Memory below which no node fits: libraries alone take 0.4 to 0.65 GB."""
LARGEST_SEED = 2**63 - 1
DASHES = ('--', '\N{EN DASH}', '\N{EM DASH}')
"""How options begin, and what a word processor makes of that."""

ELSEWHERE = {
    '--subject': '--participant-label',
    '--subject-label': '--participant-label',
    '--mask': '--derivatives',
    '--brain-mask': '--derivatives',
}
"""Options as other programs spell them."""


class Parser(argparse.ArgumentParser):
    """
    A parser that names what is nearest to a word that it does not know.

    Examples
    --------
    >>> parser = Parser(prog='qsmprep')
    >>> _ = parser.add_argument('--inversion', choices=('tv', 'wiener'))
    >>> parser.nearest("argument --inversion: invalid choice: 'winner' (choose from tv, wiener)")
    ' Did you mean wiener?'
    >>> parser.nearest('unrecognized arguments: --inversin tv')
    ' Did you mean --inversion?'

    """

    options_first = False
    """Whether the command line that is read begins with an option."""

    def parse_args(self, args=None, namespace=None):
        """Parse, and refuse unknown options before their values pass for other arguments."""
        words = sys.argv[1:] if args is None else list(args)
        words = words[: words.index('--')] if '--' in words else words
        self.options_first = words[:1] != [] and words[0].startswith('-')
        names = [word.partition('=')[0] for word in words if word.startswith('--')]
        known = tuple(self._option_string_actions)
        unknown = [x for x in names if not any(option.startswith(x) for option in known)]
        if unknown:
            self.error(f'unrecognized arguments: {" ".join(unknown)}')
        return super().parse_args(args, namespace)

    def error(self, message: str):
        """Print usage and message, what was meant or where help is, and end with code 2."""
        self.print_usage(sys.stderr)
        text = f'{message.rstrip(".")}.{self.nearest(message)}'
        self.exit(exit_codes.USAGE, f'{self.prog}: error: {text}\n')

    def nearest(self, message: str) -> str:
        """Sentence on what an unknown word in a message was meant to be, or where help is."""
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        words, known = [], []
        if choice:
            words, known = [choice[1]], re.findall(r'[\w+.-]+', choice[2])
        elif message.startswith('unrecognized arguments: '):
            rest = message.removeprefix('unrecognized arguments: ')
            if not rest.strip():
                return (
                    ' A blank is one of them: in a script, no blank may stand behind the backslash '
                    'that ends a line.'
                )
            labels = '--participant-label' in self._option_string_actions
            if labels and LABEL.fullmatch(rest) and not rest.isalpha():
                return f' If {rest} is a participant, write --participant-label {rest}.'
            words = [w.partition('=')[0] for w in message.split()[2:] if w.startswith(DASHES)]
            known = [option for option in self._option_string_actions if option.startswith('--')]
        elif self.options_first and re.search('are required|is no label', message):
            return (
                ' An option that takes several values takes the words after it too: put '
                f'{", ".join(self.positionals)} before all options.'
            )
        elif 'are required' not in message:
            return ''
        others = {word: meant for word, meant in ELSEWHERE.items() if meant in known}
        spelt = {word.lower(): word for word in known} | others
        found = [difflib.get_close_matches(word.lower(), spelt, n=1) for word in words]
        meant = [spelt[match[0]] for match in found if match]
        if meant:
            return f' Did you mean {", ".join(meant)}?'
        return f' {self.prog} --help lists all options.'

    @property
    def positionals(self) -> list[str]:
        """Names of the arguments that are no options, in their order."""
        return [action.dest.upper() for action in self._actions if not action.option_strings]


class Completion(argparse.Action):
    """Print a shell's completion of the command and end."""

    def __call__(self, parser, namespace, values, option_string=None):
        import shtab

        print(shtab.complete(parser, values))
        parser.exit()


class NamedPaths(argparse.Action):
    """Gather ``NAME=PATH`` pairs; a name that is given twice is an error."""

    def __call__(self, parser, namespace, values, option_string=None):
        known = dict(getattr(namespace, self.dest, {}))
        for name, path in values:
            if name in known:
                parser.error(f'{option_string}: the name {name!r} is given twice.')
            known[name] = path
        setattr(namespace, self.dest, known)


VARIABLE = re.compile(r'\$(\w+|\{\w+\})|%\w+%')
"""Variable of a shell in a path."""


class NamedNumbers(argparse.Action):
    """Gather ``NAME=NUMBER`` pairs."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, {**getattr(namespace, self.dest, {}), **dict(values)})


def folder(text: str) -> Path:
    """Path of a folder, for argparse; an empty name would stand for the present folder."""
    if not text:
        raise argparse.ArgumentTypeError('an empty name: is a variable of the shell not set?')
    return at_home(text)


def at_home(text: str) -> Path:
    """
    Path, with a home that the shell left as a tilde (in quotes, after ``=``, in a settings file).

    Raises
    ------
    argparse.ArgumentTypeError
        If a variable or a home is left in it, and nothing is there under that name.

    Examples
    --------
    >>> at_home('/data/~x')
    PosixPath('/data/~x')

    """
    path = Path(os.path.expanduser(text))
    left = re.match(r'~[^/]*', str(path)) or VARIABLE.search(text)
    if left and not os.path.lexists(path):
        raise argparse.ArgumentTypeError(
            f'{text[:80]!r} has {left[0]}, which nothing has replaced: within single quotes and in '
            'a file the shell does not; write the path out'
        )
    return path


def label(prefix: str) -> Callable[[str], str]:
    """Labels with or without a prefix, for argparse."""

    def bare_label(text: str) -> str:
        bare = text.removeprefix(f'{prefix}-')
        if ',' in bare:
            raise argparse.ArgumentTypeError(
                f'{text!r} is no label: separate labels by spaces, not by commas'
            )
        if not LABEL.fullmatch(bare):
            raise argparse.ArgumentTypeError(f'{text!r} is no label: letters and digits only')
        return bare

    return bare_label


def path_of_file(text: str) -> Path:
    """Absolute path of a file that exists, for argparse."""
    path = at_home(text).absolute()
    try:
        found = path.is_file()
        there = found or path.exists()
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f'{text[:80]!r} is no path ({error})') from None
    if not there:
        raise argparse.ArgumentTypeError(f'the file {text} does not exist')
    if not found:
        raise argparse.ArgumentTypeError(f'{text} is a folder or a pipe, and no file')
    return path


def named_path(text: str) -> tuple[str, Path]:
    """
    ``NAME=PATH``, or a path whose last part is its name, for argparse.

    Examples
    --------
    >>> named_path('truth=/data/a=b')
    ('truth', PosixPath('/data/a=b'))
    >>> named_path('/data/a=b')
    ('a=b', PosixPath('/data/a=b'))

    """
    name, equals, path = text.partition('=')
    try:
        if not equals or '/' in name or Path(text).is_dir():
            name, path = '', text
        path = folder(path).absolute()
        path.is_dir()
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f'{text[:80]!r} is no path ({error})') from None
    return name or path.name, path


def parameter(text: str) -> tuple[str, float]:
    """``NAME=NUMBER``, for argparse; whole numbers stay whole, ``true`` and ``false`` are logical.

    Examples
    --------
    >>> parameter('steps=12'), parameter('threshold=0.1'), parameter('published=true')
    (('steps', 12), ('threshold', 0.1), ('published', True))

    """
    name, _, value = text.partition('=')
    if value in ('true', 'false'):
        return name, value == 'true'
    try:
        return name, int(value) if re.fullmatch(r'[+-]?\d+', value) else float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=NUMBER') from None


def resolution(text: str) -> str:
    """``iso`` or the edge of a voxel [mm] in its shortest form, for argparse.

    Examples
    --------
    >>> resolution('0.50'), resolution('iso')
    ('0.5', 'iso')

    """
    if text == 'iso':
        return text
    if not re.fullmatch(r'\d*\.?\d+', text) or not 0.1 <= float(text) <= 10:
        raise argparse.ArgumentTypeError(f'{text!r} is neither iso nor an edge of 0.1 to 10 mm')
    return f'{float(text):g}'


def torch_device(text: str) -> str:
    """``auto``, ``cpu`` or ``cuda[:INDEX]``, for argparse."""
    if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', text):
        raise argparse.ArgumentTypeError(f'{text!r} is not auto, cpu or cuda[:INDEX]')
    return text


def positive(kind: type) -> Callable[[str], float]:
    """Numbers above zero, for argparse."""

    def positive_number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            whole = 'whole ' if kind is int else ''
            raise argparse.ArgumentTypeError(f'{text!r} is no {whole}number') from None
        if not value > 0:
            raise argparse.ArgumentTypeError(f'{text} is not above zero')
        return value

    return positive_number


def memory_gb(text: str) -> float:
    """Size in GB from a number with a unit; a bare number is in MB.

    Examples
    --------
    >>> memory_gb('8000'), memory_gb('8G'), memory_gb('8GiB'), memory_gb('1T')
    (8.0, 8.0, 8.0, 1000.0)

    """
    match = re.fullmatch(r'([0-9.]+)\s*([KMGT]?)I?B?', text.strip().upper())
    scale = {'K': 1e-6, '': 1e-3, 'M': 1e-3, 'G': 1.0, 'T': 1e3}
    try:
        value = float(match[1]) * scale[match[2]]
    except (TypeError, ValueError):
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f'{text!r} is no size, like 8000 (MB), 8G or 8GB')
    if value < LEAST_GB:
        bare = '' if match[2] else f'; a bare number is in MB, write {match[1]}G for GB'
        raise argparse.ArgumentTypeError(
            f'{text} is {1000 * value:g} MB, and {LEAST_GB:g} GB is the least that helps{bare}'
        )
    return value


def seed(text: str) -> int:
    """Seed of random draws, for argparse: a whole number that all generators take."""
    if not re.fullmatch(r'\d+', text) or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number from 0 to 2^63 - 1')
    return int(text)
