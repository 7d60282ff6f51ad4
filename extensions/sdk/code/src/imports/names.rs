//! What the standard libraries have, as far as a name leaves no choice.
//!
//! `go.txt` and `python.txt` are lists of what packages export; a test asks an installed Go and Python whether they do.

use std::collections::BTreeSet;

use crate::Language;

const GO: &str = include_str!("go.txt");
const PYTHON: &str = include_str!("python.txt");

/// Packages of Go by their paths, modules of Python by their names; with all that each has. A line that is indented goes on with
/// the one before.
pub fn packages(language: Language) -> Vec<(&'static str, BTreeSet<&'static str>)> {
    let mut packages: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for line in if language == Language::Go { GO } else { PYTHON }.lines().filter(|l| !l.starts_with('#')) {
        let mut words = line.split_whitespace();
        if !line.starts_with(' ') {
            packages.extend(words.next().map(|path| (path, BTreeSet::new())));
        }
        if let Some((_, members)) = packages.last_mut() {
            members.extend(words);
        }
    }
    packages
}

/// The name that a path of Go is used by.
pub fn base(path: &str) -> &str {
    let mut parts = path.rsplit('/');
    let last = parts.next().unwrap_or_default();
    if is_version(last) { parts.next().unwrap_or(last) } else { last }
}

/// `v2`, as the last part of a path.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// All names that an import could be missing for.
pub fn known(language: Language) -> Box<dyn Iterator<Item = &'static str>> {
    let heads = |text: &'static str| text.lines().filter(|l| !l.starts_with(['#', ' '])).filter_map(|l| l.split(' ').next());
    match language {
        Language::Go => Box::new(heads(GO).map(base)),
        Language::Python => Box::new(heads(PYTHON).chain(PYTHON_NAMES.iter().flat_map(|(_, names)| names.split(' ')))),
        _ => Box::new(
            RUST_NAMES.iter().flat_map(|(_, names)| names.split(' ')).chain(RUST_MODULES.iter().map(|(name, _)| *name)).chain(["Ordering"]),
        ),
    }
}

/// Names of Python that stand for one thing only when nothing in a file binds them.
pub const PYTHON_NAMES: &[(&str, &str)] = &[
    ("abc", "ABC abstractmethod"),
    ("collections", "OrderedDict defaultdict deque namedtuple"),
    ("concurrent.futures", "ProcessPoolExecutor ThreadPoolExecutor"),
    ("contextlib", "asynccontextmanager contextmanager"),
    ("dataclasses", "dataclass"),
    ("datetime", "timedelta"),
    ("decimal", "Decimal"),
    ("enum", "Enum IntEnum"),
    ("fractions", "Fraction"),
    ("functools", "lru_cache"),
    ("io", "BytesIO StringIO"),
    ("pathlib", "Path PurePath"),
    ("typing", "Any ClassVar Dict List NamedTuple Optional Tuple Union"),
];

/// Those of them that libraries have too: only where nothing but the standard library is imported.
pub const PYTHON_LONELY: &[&str] = &["Decimal", "Enum", "IntEnum", "Path"];

/// What the class `datetime` has and the module does not.
pub const PYTHON_DATETIME: &[&str] = &[
    "combine",
    "fromisocalendar",
    "fromisoformat",
    "fromtimestamp",
    "max",
    "min",
    "now",
    "strptime",
    "today",
    "utcfromtimestamp",
    "utcnow",
];

/// Types and traits of Rust that are not in its prelude and that mean one thing.
pub const RUST_NAMES: &[(&str, &str)] = &[
    ("std::any", "TypeId"),
    ("std::borrow", "Borrow Cow"),
    ("std::cell", "Cell RefCell UnsafeCell"),
    ("std::collections", "BTreeMap BTreeSet BinaryHeap HashMap HashSet VecDeque"),
    ("std::ffi", "CStr CString OsStr OsString"),
    ("std::fs", "File OpenOptions"),
    ("std::fmt", "Debug Display"),
    ("std::hash", "BuildHasher Hash Hasher"),
    ("std::io", "BufReader BufWriter Cursor ErrorKind"),
    ("std::iter", "FusedIterator"),
    ("std::marker", "PhantomData"),
    ("std::mem", "ManuallyDrop MaybeUninit"),
    ("std::net", "IpAddr Ipv4Addr Ipv6Addr SocketAddr SocketAddrV4 SocketAddrV6"),
    ("std::num", "NonZeroU16 NonZeroU32 NonZeroU64 NonZeroU8 NonZeroUsize ParseFloatError ParseIntError"),
    ("std::ops", "Bound ControlFlow Deref DerefMut Range RangeBounds RangeInclusive"),
    ("std::path", "Path PathBuf"),
    ("std::pin", "Pin"),
    ("std::process", "Command ExitCode"),
    ("std::ptr", "NonNull"),
    ("std::rc", "Rc"),
    ("std::str", "FromStr"),
    ("std::string", "FromUtf8Error"),
    ("std::sync", "Arc Mutex OnceLock RwLock"),
    ("std::sync::atomic", "AtomicBool AtomicI32 AtomicI64 AtomicPtr AtomicU32 AtomicU64 AtomicU8 AtomicUsize"),
    ("std::time", "Duration Instant SystemTime"),
];

/// What each of the two `Ordering` has.
pub const RUST_ORDERINGS: &[(&str, &str)] =
    &[("std::cmp::Ordering", "Equal Greater Less"), ("std::sync::atomic::Ordering", "AcqRel Acquire Relaxed Release SeqCst")];

/// Modules of `std` that are used by their own names, with what is used of them.
pub const RUST_MODULES: &[(&str, &str)] = &[
    ("any", "Any TypeId type_name type_name_of_val"),
    ("cmp", "Eq Ord Ordering PartialEq PartialOrd Reverse max min"),
    ("env", "args args_os consts current_dir current_exe home_dir remove_var set_var temp_dir var var_os vars vars_os"),
    ("error", "Error"),
    (
        "fmt",
        "Alignment Arguments Binary Debug Display Error Formatter LowerExp LowerHex Octal Pointer Result UpperExp UpperHex Write write",
    ),
    (
        "fs",
        "File canonicalize copy create_dir create_dir_all read read_dir read_to_string remove_dir remove_dir_all remove_file rename write",
    ),
    ("hash", "BuildHasher DefaultHasher Hash Hasher"),
    (
        "io",
        "BufRead BufReader BufWriter Cursor Error ErrorKind IoSlice IoSliceMut Read Result Seek SeekFrom Write copy empty sink stderr stdin stdout",
    ),
    (
        "iter",
        "Chain Enumerate FromIterator FusedIterator Map Peekable Rev Sum Zip empty from_fn once repeat repeat_n repeat_with successors zip",
    ),
    (
        "mem",
        "ManuallyDrop MaybeUninit align_of align_of_val discriminant drop forget replace size_of size_of_val swap take transmute zeroed",
    ),
    (
        "ops",
        "Add Bound ControlFlow Deref DerefMut Div Index IndexMut Mul Neg Not Range RangeBounds RangeFrom RangeFull RangeInclusive RangeTo Sub",
    ),
    ("process", "Command ExitCode ExitStatus Stdio abort exit id"),
    ("ptr", "NonNull addr_of addr_of_mut copy copy_nonoverlapping eq null null_mut read read_unaligned write write_bytes"),
    ("thread", "JoinHandle Thread ThreadId current park scope sleep spawn yield_now"),
];

/// Those of both that others have too: not where one of [`RUST_OTHERS`] is imported.
pub const RUST_SHARED: &[&str] = &[
    "BufReader",
    "BufWriter",
    "Command",
    "Cursor",
    "Debug",
    "Display",
    "Duration",
    "ExitCode",
    "File",
    "IpAddr",
    "Instant",
    "Mutex",
    "OnceLock",
    "OpenOptions",
    "Path",
    "Range",
    "RwLock",
    "SocketAddr",
    "SystemTime",
    "env",
    "error",
    "fs",
    "hash",
    "io",
    "iter",
    "process",
    "thread",
];

/// Crates that have them.
pub const RUST_OTHERS: &[&str] = &[
    "actix_web",
    "async_fs",
    "async_io",
    "async_std",
    "axum",
    "cap_std",
    "chrono",
    "clap",
    "crossbeam",
    "embassy_time",
    "fs_err",
    "futures",
    "futures_util",
    "mio",
    "once_cell",
    "parking_lot",
    "quanta",
    "rocket",
    "rustix",
    "smol",
    "spin",
    "syn",
    "text_size",
    "time",
    "tokio",
    "web_time",
];

/// Crates whose types are called as those of `std`.
pub const RUST_TWINS: &[&str] = &[
    "ahash",
    "alloc",
    "core",
    "fxhash",
    "hashbrown",
    "heapless",
    "im",
    "loom",
    "no_std_compat",
    "portable_atomic",
    "rustc_hash",
    "triomphe",
];

/// Whether a module is one of Python's standard library.
pub fn is_python_std(module: &str) -> bool {
    let top = module.split('.').next().unwrap_or_default();
    PYTHON_STD.split(' ').any(|name| name == top)
}

/// Whether Python has a name without any import.
pub fn is_python_builtin(name: &str) -> bool {
    PYTHON_BUILTINS.split(' ').any(|builtin| builtin == name)
}

/// Modules of Python's standard library, of all versions that are in use.
const PYTHON_STD: &str = "\
    abc aifc antigravity argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii bisect builtins bz2 cProfile \
    calendar cgi cgitb chunk cmath cmd code codecs codeop collections colorsys compileall concurrent configparser contextlib contextvars \
    copy copyreg crypt csv ctypes curses dataclasses datetime dbm decimal difflib dis distutils doctest email encodings ensurepip enum \
    errno faulthandler fcntl filecmp fileinput fnmatch fractions ftplib functools gc genericpath getopt getpass gettext glob graphlib \
    grp gzip hashlib heapq hmac html http idlelib imaplib imghdr imp importlib inspect io ipaddress itertools json keyword lib2to3 \
    linecache locale logging lzma mailbox mailcap marshal math mimetypes mmap modulefinder msilib msvcrt multiprocessing netrc nis \
    nntplib nt ntpath nturl2path numbers opcode operator optparse os ossaudiodev pathlib pdb pickle pickletools pipes pkgutil platform \
    plistlib poplib posix posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri random re \
    readline reprlib resource rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtpd smtplib sndhdr \
    socket socketserver spwd sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string stringprep struct subprocess sunau \
    symtable sys sysconfig syslog tabnanny tarfile telnetlib tempfile termios textwrap this threading time timeit tkinter token tokenize \
    tomllib trace traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest urllib uu uuid venv warnings wave \
    weakref webbrowser winreg winsound wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport zlib zoneinfo";

/// What each module of Python has.
const PYTHON_BUILTINS: &str = "\
    ArithmeticError AssertionError AttributeError BaseException BaseExceptionGroup BlockingIOError BrokenPipeError BufferError \
    BytesWarning ChildProcessError ConnectionAbortedError ConnectionError ConnectionRefusedError ConnectionResetError DeprecationWarning \
    EOFError Ellipsis EncodingWarning EnvironmentError Exception ExceptionGroup False FileExistsError FileNotFoundError \
    FloatingPointError FutureWarning GeneratorExit IOError ImportError ImportWarning IndentationError IndexError InterruptedError \
    IsADirectoryError KeyError KeyboardInterrupt LookupError MemoryError ModuleNotFoundError NameError None NotADirectoryError \
    NotImplemented NotImplementedError OSError OverflowError PendingDeprecationWarning PermissionError ProcessLookupError \
    PythonFinalizationError RecursionError ReferenceError ResourceWarning RuntimeError RuntimeWarning StopAsyncIteration StopIteration \
    SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError True TypeError UnboundLocalError UnicodeDecodeError \
    UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError Warning WindowsError ZeroDivisionError \
    __annotations__ __build_class__ __builtins__ __cached__ __class__ __debug__ __doc__ __file__ __import__ __loader__ __module__ \
    __name__ __package__ __path__ __qualname__ __spec__ abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr \
    classmethod compile complex delattr dict dir divmod enumerate eval exec exit filter float format frozenset getattr globals hasattr \
    hash help hex id input int isinstance issubclass iter len list locals map max memoryview min next object oct open ord pow print \
    property quit range repr reversed round set setattr slice sorted staticmethod str sum super tuple type vars zip";
