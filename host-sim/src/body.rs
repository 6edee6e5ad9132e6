//! [`Body`]: what a server exports, a simulated key or firmware on an emulated board.

use crate::control::Control;
use crate::firmware::{Board, BoardError};
use crate::image::ImageSource;
use crate::key::{Key, KeyError};
use std::fmt;
use std::sync::Arc;

/// What a server exports.
#[derive(Debug)]
#[non_exhaustive]
pub enum Body {
    /// A key in this process.
    Simulated(Key),
    /// Firmware in an emulator.
    Board(Board),
}

impl Body {
    /// Where its flash is.
    pub fn image(&self) -> &ImageSource {
        match self {
            Self::Simulated(key) => key.image(),
            Self::Board(board) => board.image(),
        }
    }

    /// What a test can do to it.
    pub fn control(&self) -> &Arc<Control> {
        match self {
            Self::Simulated(key) => key.control(),
            Self::Board(board) => board.control(),
        }
    }

    /// Opens and locks the image and boots the key once, so that what is wrong with it is known now.
    ///
    /// Errors: [`BodyError`].
    pub async fn prepare(&self) -> Result<(), BodyError> {
        match self {
            Self::Simulated(key) => Ok(key.prepare()?),
            Self::Board(board) => Ok(board.prepare().await?),
        }
    }
}

impl From<Key> for Body {
    fn from(key: Key) -> Self {
        Self::Simulated(key)
    }
}

impl From<Board> for Body {
    fn from(board: Board) -> Self {
        Self::Board(board)
    }
}

/// Why a body does not start. One line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// A simulated key.
    Key(KeyError),
    /// An emulated board.
    Board(BoardError),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Board(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}

impl From<KeyError> for BodyError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<BoardError> for BodyError {
    fn from(error: BoardError) -> Self {
        Self::Board(error)
    }
}
