//! Lines on their way to where they are written.
//!
//! Work never waits for a log: what reads it may have stopped reading, and a disk may stand still. A thread of
//! its own writes; what finds the queue full is dropped and counted. So is what cannot be written.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait at once.
const LINES_MAX: usize = 10_000;
/// Longest wait for what is queued to be written, at the end of the program.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Between two attempts to get the request for that into a full queue.
const FLUSH_RETRY: Duration = Duration::from_millis(10);

/// Cloning shares the queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    messages: SyncSender<Message>,
    dropped: IntCounter,
    /// What is written to from the next line on.
    next: Arc<Mutex<Option<File>>>,
}

enum Message {
    Line(Vec<u8>),
    /// Everything before it is written.
    Flushed(SyncSender<()>),
}

impl Queue {
    /// # Errors
    /// The system has no thread left.
    pub(super) fn to(output: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let (messages, queued) = sync_channel(LINES_MAX);
        let queue = Self { messages, dropped, next: Arc::default() };
        let (dropped, next) = (queue.dropped.clone(), Arc::clone(&queue.next));
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&queued, Box::new(output), &next, &dropped))?;
        Ok(queue)
    }

    /// From the next line on everything goes there.
    pub(super) fn turn_to(&self, file: File) {
        *self.next.lock() = Some(file);
    }

    /// Waits until what is queued is written, but not for long.
    pub(super) fn flush(&self) {
        let until = Instant::now() + FLUSH_MAX;
        let (flushed, is_flushed) = sync_channel(1);
        let mut request = Message::Flushed(flushed);
        while let Err(TrySendError::Full(refused)) = self.messages.try_send(request) {
            if Instant::now() >= until {
                return;
            }
            request = refused;
            thread::sleep(FLUSH_RETRY);
        }
        // Neither an answer that is too late nor a writer that is gone changes anything here.
        let (Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) =
            is_flushed.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write(queued: &Receiver<Message>, mut output: Box<dyn Write>, next: &Mutex<Option<File>>, dropped: &IntCounter) {
    for message in queued {
        match message {
            Message::Line(line) => {
                let turned_to = next.lock().take();
                if let Some(file) = turned_to {
                    output = Box::new(file);
                }
                if output.write_all(&line).is_err() {
                    dropped.inc();
                }
            }
            Message::Flushed(flushed) => drop(flushed.send(())),
        }
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.messages.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes nothing until it is let go.
    struct Stuck(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Let go for good once the other end is gone.
            let _ = self.0.recv();
            self.1.lock().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted_and_the_rest_is_written_in_order() {
        let (let_go, held) = sync_channel(0);
        let written = Arc::new(Mutex::new(Vec::new()));
        let dropped = IntCounter::new("dropped", "dropped").expect("a name");
        let mut queue = Queue::to(Stuck(held, Arc::clone(&written)), dropped.clone()).expect("a thread");
        let lines = LINES_MAX + 100;
        for line in 0..lines {
            queue.write_all(format!("{line}\n").as_bytes()).expect("it never fails");
        }
        // The writer may have taken one out.
        assert!((99..=100).contains(&dropped.get()), "{}", dropped.get());
        drop(let_go);
        queue.flush();
        let written = String::from_utf8(written.lock().clone()).expect("text");
        let expected: String = (0..lines as u64 - dropped.get()).map(|line| line.to_string() + "\n").collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn what_cannot_be_written_is_counted_too() {
        let full = File::options().write(true).open("/dev/full").expect("every Linux has it");
        let dropped = IntCounter::new("dropped", "dropped").expect("a name");
        let mut queue = Queue::to(full, dropped.clone()).expect("a thread");
        writeln!(queue, "line").expect("it never fails");
        queue.flush();
        assert_eq!(dropped.get(), 1);
    }
}
