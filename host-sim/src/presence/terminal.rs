//! Questions on the terminal: one at a time, whichever key asks.
//!
//! A thread of its own reads the answers, so that a key that waits can be cancelled, and so that the process can
//! end, while nobody types. It starts with the first question.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Tells whoever asked that an answer has come.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

const OPEN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

struct Waiting {
    text: String,
    answer: Arc<AtomicU8>,
    wake: Wake,
}

struct State {
    output: Box<dyn Write + Send>,
    /// The first one is on the screen.
    questions: VecDeque<Waiting>,
    /// The input has ended.
    closed: bool,
}

/// A terminal.
pub(super) struct Terminal {
    state: Mutex<State>,
    reader: OnceLock<bool>,
}

/// A question that was asked. Dropped unanswered, it disappears.
pub(crate) struct Question {
    terminal: Arc<Terminal>,
    answer: Arc<AtomicU8>,
}

impl Terminal {
    /// The terminal that this process was started from, if it may talk there: standard input and standard error
    /// are it, and the process is not in its background, where reading would stop it.
    pub(super) fn of_process() -> Option<Arc<Self>> {
        static TERMINAL: OnceLock<Arc<Terminal>> = OnceLock::new();
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return None;
        }
        let foreground = rustix::termios::tcgetpgrp(std::io::stdin());
        if foreground.is_ok_and(|group| group != rustix::process::getpgrp()) {
            return None;
        }
        let terminal = TERMINAL.get_or_init(|| Self::new(Box::new(std::io::stderr())));
        let reading = terminal.reader.get_or_init(|| {
            // What was typed before the first question was not typed to answer it.
            rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush).ok();
            let terminal = Arc::clone(terminal);
            let reader = std::thread::Builder::new().name("terminal".into());
            reader.spawn(move || terminal.read(std::io::stdin().lock())).is_ok()
        });
        (*reading && !terminal.state().closed).then(|| Arc::clone(terminal))
    }

    pub(super) fn new(output: Box<dyn Write + Send>) -> Arc<Self> {
        let state = State { output, questions: VecDeque::new(), closed: false };
        Arc::new(Self { state: Mutex::new(state), reader: OnceLock::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A queue of questions is as good after a panic elsewhere as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks; `wake` is called when the answer is there.
    pub(super) fn ask(self: &Arc<Self>, text: String, wake: Wake) -> Question {
        let answer = Arc::new(AtomicU8::new(OPEN));
        let mut state = self.state();
        state.questions.push_back(Waiting { text, answer: Arc::clone(&answer), wake });
        if state.questions.len() == 1 {
            state.show();
        }
        Question { terminal: Arc::clone(self), answer }
    }

    /// Takes a line that the user typed.
    pub(super) fn line(&self, line: &str) {
        let mut state = self.state();
        let answer = match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => YES,
            "n" | "no" => NO,
            _ => return state.show(),
        };
        state.answer(answer);
    }

    /// Reads lines until the input ends: then every question is answered no, and no new one is asked.
    fn read(&self, mut input: impl BufRead) {
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            self.line(&String::from_utf8_lossy(&line));
            line.clear();
        }
        let mut state = self.state();
        state.closed = true;
        while state.answer(NO) {}
    }

    /// Takes a question back, and says why if it was on the screen.
    fn withdraw(&self, answer: &Arc<AtomicU8>, why: &str) {
        let mut state = self.state();
        let Some(at) = state.questions.iter().position(|waiting| Arc::ptr_eq(&waiting.answer, answer)) else {
            return;
        };
        state.questions.remove(at);
        if at == 0 {
            writeln!(state.output, "\n{why}").ok();
            state.show();
        }
    }
}

impl State {
    /// Shows the first question. A terminal that cannot be written to is as good as a user who is not there.
    fn show(&mut self) {
        if let Some(Waiting { text, .. }) = self.questions.front() {
            write!(self.output, "{text} [y/n] ").ok();
            self.output.flush().ok();
        }
    }

    /// Answers the first question and shows the next. Returns whether there was one.
    fn answer(&mut self, answer: u8) -> bool {
        let Some(waiting) = self.questions.pop_front() else { return false };
        waiting.answer.store(answer, Ordering::Release);
        (waiting.wake)();
        self.show();
        true
    }
}

impl Question {
    /// What the user answered, if so.
    pub(super) fn answer(&self) -> Option<bool> {
        match self.answer.load(Ordering::Acquire) {
            YES => Some(true),
            NO => Some(false),
            _ => None,
        }
    }

    /// Takes the question back and tells the user why.
    pub(super) fn withdraw(self, why: &str) {
        self.terminal.withdraw(&self.answer, why);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.terminal.withdraw(&self.answer, "Never mind.");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io;

    /// What a terminal shows.
    #[derive(Clone, Default)]
    pub(in super::super) struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Screen {
        /// What was written since the last call.
        pub(in super::super) fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn terminal() -> (Arc<Terminal>, Screen) {
        let screen = Screen::default();
        (Terminal::new(Box::new(screen.clone())), screen)
    }

    fn nobody() -> Wake {
        Arc::new(|| {})
    }

    #[test]
    fn a_question_takes_yes_or_no_and_nothing_else() {
        let (terminal, screen) = terminal();
        let woken = Arc::new(AtomicU8::new(0));
        let counter = Arc::clone(&woken);
        let wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let question = terminal.ask("Well?".into(), wake);
        assert_eq!(screen.take(), "Well? [y/n] ");
        for line in ["", "maybe", "yesno"] {
            terminal.line(line);
            assert_eq!(screen.take(), "Well? [y/n] ");
            assert_eq!((question.answer(), woken.load(Ordering::SeqCst)), (None, 0));
        }
        terminal.line(" Y\n");
        assert_eq!((question.answer(), woken.load(Ordering::SeqCst)), (Some(true), 1));
        // A second answer answers nothing.
        terminal.line("n");
        assert_eq!(question.answer(), Some(true));
        assert_eq!(screen.take(), "");
    }

    #[test]
    fn questions_wait_for_their_turn() {
        let (terminal, screen) = terminal();
        let first = terminal.ask("First?".into(), nobody());
        let second = terminal.ask("Second?".into(), nobody());
        let third = terminal.ask("Third?".into(), nobody());
        assert_eq!(screen.take(), "First? [y/n] ");
        second.withdraw("Too late.");
        assert_eq!(screen.take(), "");
        terminal.line("no");
        assert_eq!(screen.take(), "Third? [y/n] ");
        assert_eq!((first.answer(), third.answer()), (Some(false), None));
        third.withdraw("The host gave up.");
        assert_eq!(screen.take(), "\nThe host gave up.\n");
        terminal.line("y");
        assert_eq!(screen.take(), "");
    }

    #[test]
    fn the_end_of_the_input_is_a_no_to_all() {
        let (terminal, _screen) = terminal();
        let questions = ["a", "b", "c"].map(|text| terminal.ask(text.into(), nobody()));
        terminal.read(&b"\xFF\xFE\ny\n"[..]);
        assert_eq!(questions.map(|question| question.answer()), [Some(true), Some(false), Some(false)]);
        assert!(terminal.state().closed);
    }
}
