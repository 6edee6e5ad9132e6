//! The file that QEMU takes for the board's flash.
//!
//! It is an image like a simulated key's: a plain dump, mode 0600, locked while it is open. QEMU maps it as the
//! board's 16 MB of PSRAM, of which the flash is the beginning, and wants it to have that length while it runs;
//! afterwards it is cut again.
//!
//! The mapping is shared, so what the firmware has written is in the file whatever happens to the processes. That the
//! disk has it is up to the system: a power cut of this machine may take the last seconds.

use crate::image::{IMAGE_LEN, ImageError, ImageSource, Missing, lock_image};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The board's PSRAM, in bytes.
pub(super) const PSRAM_LEN: u64 = 16 << 20;

#[derive(Debug)]
pub(super) struct FlashFile {
    /// Holds the lock.
    file: File,
    path: PathBuf,
    /// Deletes the file of a board that has its flash in memory.
    _temporary: Option<tempfile::TempDir>,
}

impl FlashFile {
    /// Opens and locks an image, and makes it if it is not there.
    pub(super) fn open(source: &ImageSource) -> Result<Self, ImageError> {
        let (path, temporary) = match source {
            ImageSource::File(path) => (path.clone(), None),
            ImageSource::Memory => {
                let folder = tempfile::Builder::new().prefix("brasskey-board-").tempdir();
                let folder = folder.map_err(|error| ImageError::Io(std::env::temp_dir(), error))?;
                (folder.path().join("flash.img"), Some(folder))
            }
        };
        // A process that was killed may have left it long.
        let file = lock_image(&path, Missing::Create, &[IMAGE_LEN as u64, PSRAM_LEN])?;
        let flash = Self { file, path, _temporary: temporary };
        flash.trim();
        Ok(flash)
    }

    /// Lengthens it to what QEMU wants. What is added takes no room on a disk.
    pub(super) fn lengthen(&self) -> io::Result<()> {
        self.file.set_len(PSRAM_LEN)
    }

    /// Cuts what was added.
    pub(super) fn trim(&self) {
        if let Err(error) = self.file.set_len(IMAGE_LEN as u64) {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }

    /// The path, absolute: QEMU runs where we do, but takes a relative one with a colon for something else.
    pub(super) fn path(&self) -> io::Result<PathBuf> {
        std::path::absolute(Path::new(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_added_for_the_emulator_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board.img");
        let source = ImageSource::File(path.clone());
        let flash = FlashFile::open(&source).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), IMAGE_LEN as u64);
        assert!(matches!(FlashFile::open(&source), Err(ImageError::Locked(_))));
        flash.lengthen().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), PSRAM_LEN);
        drop(flash);
        drop(FlashFile::open(&source).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), IMAGE_LEN as u64);
        assert!(fs::read(&path).unwrap().iter().all(|&byte| byte == 0xFF));
        fs::write(&path, b"short").unwrap();
        assert!(matches!(FlashFile::open(&source), Err(ImageError::WrongSize(_, 5))));
    }

    #[test]
    fn a_board_in_memory_leaves_nothing_behind() {
        let flash = FlashFile::open(&ImageSource::Memory).unwrap();
        let path = flash.path().unwrap();
        assert!(path.exists());
        drop(flash);
        assert!(!path.exists());
    }
}
