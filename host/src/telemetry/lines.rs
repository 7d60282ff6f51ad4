//! Lines of a log on their way to a file: who has one puts it into a buffer, and a thread writes what has gathered in one go.
//!
//! Between two writes it waits a moment, so that a busy gateway wakes it some hundred times in a second and not once for each line: waking a
//! thread, and being put aside for it, cost more than all else of a line. Nothing is lost: when the buffer is full, whoever has one more line
//! waits.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long lines gather.
const GATHER: Duration = Duration::from_millis(5);

/// Most that waits to be written, in bytes; a single line may be longer.
const MOST: usize = 1 << 20;

/// From here on nothing is waited for.
const MUCH: usize = 64 << 10;

/// Longest that the end of the gateway waits for a file that takes nothing.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Where lines are put.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

/// Writes the last lines when it is dropped.
pub struct Guard(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do for the thread.
    filled: Condvar,
    /// There is room again, or all is written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Nothing more will come.
    closed: bool,
    /// The thread has written everything and ended.
    done: bool,
}

/// Starts a thread of this name that writes lines.
pub fn start(to: impl Write + Send + 'static, name: &str) -> io::Result<(Lines, Guard)> {
    let shared = Arc::<Shared>::default();
    let own = Arc::clone(&shared);
    thread::Builder::new().name(name.to_owned()).spawn(move || own.write_all(to))?;
    Ok((Lines(Arc::clone(&shared)), Guard(shared)))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line in.
    fn add(&self, line: &[u8]) {
        let full = |state: &mut State| !state.waiting.is_empty() && state.waiting.len() + line.len() > MOST && !state.done;
        let mut state = self.written.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner);
        let before = state.waiting.len();
        state.waiting.extend_from_slice(line);
        let crossed = before < MUCH && state.waiting.len() >= MUCH;
        drop(state);
        if before == 0 || crossed {
            self.filled.notify_one();
        }
    }

    /// The thread.
    fn write_all(&self, mut to: impl Write) {
        let mut batch = Vec::new();
        loop {
            let nothing = |state: &mut State| state.waiting.is_empty() && !state.closed;
            let state = self.filled.wait_while(self.state(), nothing).unwrap_or_else(PoisonError::into_inner);
            let little = |state: &mut State| state.waiting.len() < MUCH && !state.closed;
            let (mut state, _) = self.filled.wait_timeout_while(state, GATHER, little).unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut state.waiting, &mut batch);
            if batch.is_empty() && state.closed {
                state.done = true;
                self.written.notify_all();
                return;
            }
            drop(state);
            // Where would it be said that the log cannot be written?
            let _ = to.write_all(&batch).and_then(|()| to.flush());
            batch.clear();
            self.written.notify_all();
        }
    }
}

impl Lines {
    /// Takes a line in, with the end of it.
    pub fn add(&self, line: &[u8]) {
        self.0.add(line);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        self.0.filled.notify_one();
        // Whoever reads the log may have stopped to: then the gateway ends all the same.
        drop(self.0.written.wait_timeout_while(state, LAST_WRITE, |state| !state.done));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A file that counts its writes, and lets each wait until somebody allows it.
    struct Slow {
        wrote: mpsc::Sender<Vec<u8>>,
        allowed: mpsc::Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.allowed.recv();
            self.wrote.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_whole_in_their_order_and_many_at_once() {
        let (wrote, written) = mpsc::channel();
        let (allow, allowed) = mpsc::channel();
        let (lines, guard) = start(Slow { wrote, allowed }, "test").unwrap();
        lines.add(b"first\n");
        allow.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), b"first\n");
        // While one batch is written, the others gather.
        lines.add(b"second\n");
        let many: Vec<u8> = (0..1000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        many.split_inclusive(|b| *b == b'\n').for_each(|line| lines.add(line));
        drop(allow);
        drop(guard);
        let rest: Vec<Vec<u8>> = written.iter().collect();
        assert!(rest.len() <= 3, "{} writes", rest.len());
        assert_eq!(rest.concat(), [b"second\n", &many[..]].concat());
    }

    #[test]
    fn a_full_buffer_is_waited_for() {
        let (wrote, written) = mpsc::channel();
        let (allow, allowed) = mpsc::channel();
        let (lines, guard) = start(Slow { wrote, allowed }, "test").unwrap();
        let writer = thread::spawn(move || (0..64).for_each(|n| lines.add(&[n; MOST / 16])));
        // Nobody allowed a write: what is written and what waits is not more than two buffers.
        allow.send(()).unwrap();
        let first = written.recv().unwrap();
        assert!(!writer.is_finished() && first.len() <= MOST);
        drop(allow);
        writer.join().unwrap();
        drop(guard);
        let all = [first, written.iter().collect::<Vec<_>>().concat()].concat();
        assert_eq!(all.len(), 64 * (MOST / 16));
        assert!(all.chunks(MOST / 16).zip(0..).all(|(chunk, n)| chunk.iter().all(|b| *b == n)));
    }
}
