"""A pickle's instructions carried out on plain data: what it would import is looked up in a list, and never imported.

Python's own reader calls whatever a pickle names. This one builds numbers, text and containers itself, and hands each
name to a table of stand-ins; what is not in the table becomes an `Opaque`, and its name is noted.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, cast

# A tensor takes some 45 instructions: room for 5,000 tensors in any file, for more in larger ones. What an instruction of
# one byte makes takes up to 216 bytes of memory, so this bounds memory, too.
STEPS, BYTES_PER_STEP, MOST_STEPS = 250_000, 256, 5_000_000
LONGEST_LINE = 1 << 20
Maker = Callable[..., Any]


class Malformed(Exception):
    """A file that is not what it says; the message is the part of a sentence that follows `is damaged: `."""


class Global(NamedTuple):
    """A name that a pickle calls for, as text."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Opaque:
    """Where an object that is not on the list would stand: its class's name, and what it would have been made of."""

    __slots__ = ("name", "parts")

    def __init__(self, name: str, parts: list[Any]):
        self.name = name
        self.parts = parts

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Result(NamedTuple):
    value: Any
    globals: list[str]
    """Every name that the pickle calls for, in order of appearance."""
    unlisted: list[str]
    """Those of them that the table does not have."""
    end: int
    """The position behind the pickle."""


class Window:
    """A stream of which no more is read than it has, and no line that is longer than a name can be."""

    def __init__(self, stream: BinaryIO, size: int, start: int = 0):
        self.stream, self.size, self.position = stream, size, start
        stream.seek(start)

    def read(self, size: int = -1) -> bytes:
        left = self.size - self.position
        data = self.stream.read(left if size < 0 else min(size, left))
        self.position += len(data)
        return data

    def readline(self) -> bytes:
        line = self.stream.readline(LONGEST_LINE)
        self.position += len(line)
        return line

    def tell(self) -> int:
        return self.position


class Machine:
    """One table of stand-ins; `run` reads one pickle.

    makers: name -> function of the arguments, which makes the object. values: name -> what stands for the name itself.
    update: (object, state) -> None, for the state that a pickle gives an object afterwards. load: the object for a
    persistent id. size: of the file, in bytes; a pickle within it may be shorter.
    """

    def __init__(
        self,
        makers: dict[str, Maker],
        values: dict[str, Any],
        update: Callable[[Any, Any], None],
        load: Callable[[Any], Any],
        size: int,
    ):
        self.makers, self.values, self.update, self.load = makers, values, update, load
        self.size = size
        self.most_steps = min(STEPS + size // BYTES_PER_STEP, MOST_STEPS)

    def run(self, file: BinaryIO, start: int = 0) -> Result:
        """The pickle that begins at `start`. Raises Malformed for whatever is no pickle of plain data."""
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.named: dict[str, None] = {}
        self.unlisted: dict[str, None] = {}
        stream = Window(file, self.size, start)
        try:
            for name, argument in self._instructions(stream):
                if name == "STOP":
                    return Result(self.stack[-1], list(self.named), list(self.unlisted), stream.position)
                if name in CONSTANTS:
                    self.stack.append(CONSTANTS[name])
                elif name in PUSHED:
                    self.stack.append(argument)
                elif (instruction := getattr(self, f"_{name.lower()}", None)) is not None:
                    instruction(argument)
                else:
                    raise Malformed(f"its pickle has an instruction {name}, which no checkpoint needs")
        except Malformed:
            raise
        except MemoryError:
            raise Malformed("its pickle asks for more memory than there is") from None
        except Exception as error:  # a damaged pickle can fail with any exception at all
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise Malformed(f"its pickle cannot be followed ({reason})") from None
        finally:
            self.stack, self.marks, self.memo = [], [], {}  # the makers refer to the machine, which would keep them
        raise Malformed("its pickle has no end")

    def _instructions(self, stream: Window) -> Iterator[tuple[str, Any]]:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(cast(BinaryIO, stream))):
            if steps > self.most_steps:
                raise Malformed(
                    f"its pickle takes more than {self.most_steps:,} steps, which no checkpoint of its size needs"
                )
            yield opcode.name, argument

    # The stack: what lies above the last mark is `self.stack`, what was below it waits in `self.marks`.

    def _mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _pop_mark(self, _: Any = None) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._pop_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _proto(self, _: Any) -> None: ...

    def _frame(self, _: Any) -> None: ...

    def _get(self, index: Any) -> None:
        self.stack.append(self.memo[int(index)])

    _binget = _long_binget = _get

    def _put(self, index: Any) -> None:
        self.memo[int(index)] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    # Containers

    def _tuple(self, _: Any) -> None:
        items = self._pop_mark()
        self.stack.append(tuple(items))

    def _take(self, count: int) -> tuple:
        if len(self.stack) < count:
            raise IndexError("its stack is empty")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def _tuple1(self, _: Any) -> None:
        self.stack.append(self._take(1))

    def _tuple2(self, _: Any) -> None:
        self.stack.append(self._take(2))

    def _tuple3(self, _: Any) -> None:
        self.stack.append(self._take(3))

    def _empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _empty_set(self, _: Any) -> None:
        self.stack.append(set())

    def _list(self, _: Any) -> None:
        items = self._pop_mark()
        self.stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._pop_mark()
        self.stack.append({})
        _fill(self.stack[-1], items)

    def _frozenset(self, _: Any) -> None:
        items = self._pop_mark()
        self.stack.append(frozenset(map(key, items)))

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        _extend(self.stack[-1], [item])

    def _appends(self, _: Any) -> None:
        items = self._pop_mark()
        _extend(self.stack[-1], items)

    def _setitem(self, _: Any) -> None:
        items = self._take(2)
        _fill(self.stack[-1], items)

    def _setitems(self, _: Any) -> None:
        items = self._pop_mark()
        _fill(self.stack[-1], items)

    def _additems(self, _: Any) -> None:
        items = self._pop_mark()
        target = self.stack[-1]
        if type(target) is set:
            target.update(map(key, items))
        else:
            _keep(target, items)

    # Names, and objects made from them

    def _find(self, module: str, name: str) -> Any:
        found = Global(module, name)
        text = str(found)
        self.named[text] = None
        if text in self.values:
            return self.values[text]
        if text not in self.makers:
            self.unlisted[text] = None
        return found

    def _global(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self.stack.append(self._find(module, name))

    def _stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("its pickle names something by other than text")
        self.stack.append(self._find(module, name))

    def _ext1(self, code: Any) -> None:
        self.stack.append(self._find("extension", str(code)))

    _ext2 = _ext4 = _ext1

    def make(self, what: Any, arguments: Any) -> Any:
        """The object that `what(*arguments)` stands for."""
        if type(arguments) is not tuple:
            raise Malformed("its pickle calls something with other than a tuple")
        if isinstance(what, Global) and (maker := self.makers.get(str(what))) is not None:
            return maker(*arguments)
        name = str(what) if isinstance(what, Global) else what.name if isinstance(what, Opaque) else ""
        if not name:
            raise Malformed(f"its pickle calls a {type(what).__name__}")
        self.unlisted[name] = None  # listed as a value, perhaps, and not to be called
        return Opaque(name, list(arguments))

    def _reduce(self, _: Any) -> None:
        what, arguments = self._take(2)
        self.stack.append(self.make(what, arguments))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        what, arguments, keywords = self._take(3)
        if keywords:
            arguments = (*arguments, keywords)
        self.stack.append(self.make(what, arguments))

    def _inst(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        items = self._pop_mark()
        self.stack.append(self.make(self._find(module, name), tuple(items)))

    def _obj(self, _: Any) -> None:
        what, *arguments = self._pop_mark()
        self.stack.append(self.make(what, tuple(arguments)))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Opaque | Global):
            _keep(target, [state])
        else:
            self.update(target, state)

    def _persid(self, argument: Any) -> None:
        self.stack.append(self.load(argument))

    def _binpersid(self, _: Any) -> None:
        self.stack.append(self.load(self.stack.pop()))


CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
PUSHED = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT".split()
)


def key(value: Any, nested: bool = False) -> Any:
    """A value that may be a key. Tuples within tuples could take for ever to hash, and huge numbers all hash alike."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise Malformed("its pickle has a number of more than 64 bits as a key")
    if isinstance(value, Opaque):
        return value  # hashed by identity
    if type(value) is tuple and not nested:
        return tuple(key(item, nested=True) for item in value)
    if value is None or isinstance(value, str | int | float | bytes | Global):
        return value
    raise Malformed(f"its pickle has a {type(value).__name__} as a key")


def _fill(target: Any, items: Any) -> None:
    if len(items) % 2:
        raise Malformed("its pickle has a key without a value")
    if not isinstance(target, dict):
        _keep(target, list(items))
        return
    for name, value in zip(items[::2], items[1::2], strict=True):
        target[key(name)] = value


def _extend(target: Any, items: list[Any]) -> None:
    if type(target) is list:
        target.extend(items)
    else:
        _keep(target, items)


def _keep(target: Any, items: list[Any]) -> None:
    # What would go into an object that is not made.
    if isinstance(target, Opaque):
        target.parts.extend(items)
    elif not isinstance(target, Global):
        raise Malformed(f"its pickle puts something into a {type(target).__name__}")
