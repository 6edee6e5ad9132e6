//! The flash of a simulated key: an image in a file, or in memory.
//!
//! An image is a plain dump of the flash, [`IMAGE_LEN`] bytes, erased bytes `0xFF`. The file
//!
//! * has mode 0600, for it holds private keys;
//! * is locked as long as it is open, so that two processes never write one image;
//! * appears whole: it is prepared under another name, so a process killed meanwhile leaves no half image;
//! * is never overwritten by way of repair. What is not an image is refused and left as it is.
//!
//! Each program and each erase has reached the disk when it returns ([`Durability::Disk`]): littlefs counts on
//! the order of its writes, and so does every answer that leaves the key.

use littlefs2::consts::{U16, U512};
use littlefs2::io::{Error as FsError, Result as FsResult};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, str};

/// The erase unit, in bytes: that of the nRF52840, so that both bodies share every code path.
const BLOCK_LEN: usize = 4096;
/// How many blocks there are.
const BLOCK_COUNT: usize = 256;
/// The size of an image, in bytes: 1 MiB.
pub const IMAGE_LEN: usize = BLOCK_LEN * BLOCK_COUNT;
/// What an erased byte reads as.
const ERASED: u8 = 0xFF;
/// Only the owner may read or write.
const MODE: u32 = 0o600;

/// Where a key keeps its flash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ImageSource {
    /// In memory, gone with the process. On the command line `:memory:`.
    Memory,
    /// In a file.
    File(PathBuf),
}

impl ImageSource {
    /// Whether something is there already.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::Memory => false,
            // A link to nowhere counts: it is an error to hear of now.
            Self::File(path) => path.symlink_metadata().is_ok(),
        }
    }

    /// The image of the `number`th key of a process, counted from 1: `key.img`, `key-2.img`, `key-3.img`, …
    pub fn numbered(&self, number: u16) -> Self {
        match self {
            Self::File(path) if number > 1 => {
                let mut name = path.file_stem().unwrap_or_default().to_os_string();
                name.push(format!("-{number}"));
                if let Some(extension) = path.extension() {
                    name.push(".");
                    name.push(extension);
                }
                Self::File(path.with_file_name(name))
            }
            other => other.clone(),
        }
    }
}

impl str::FromStr for ImageSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == ":memory:" { Self::Memory } else { Self::File(text.into()) })
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str(":memory:"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// What a power cut of the machine may take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// Nothing that was acknowledged: each write waits for the disk (`O_DSYNC`).
    #[default]
    Disk,
    /// What the system had not written yet. A crash of this process alone still loses nothing.
    Process,
}

/// What to do about an image that is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// Make an erased one, with its folders.
    Create,
    /// Refuse.
    Refuse,
}

/// Why an image cannot be used. The text says which file it is and what to do.
#[derive(Debug)]
pub enum ImageError {
    /// Another process, or another key of this one, has it.
    Locked(PathBuf),
    /// There is none.
    Missing(PathBuf),
    /// It is a folder, a device, or something else without bytes of its own.
    NotAFile(PathBuf),
    /// It has another length than [`IMAGE_LEN`].
    WrongSize(PathBuf, u64),
    /// The system refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => {
                write!(
                    f,
                    "{}: in use by another brasskey; stop it, or choose another --image",
                    path.display()
                )
            }
            Self::Missing(path) => {
                write!(f, "{}: no such key; `brasskey run --image` makes one", path.display())
            }
            Self::NotAFile(path) => {
                write!(f, "{}: not a file; give --image the path of a key image", path.display())
            }
            Self::WrongSize(path, length) => write!(
                f,
                "{}: not a key image ({length} bytes instead of {IMAGE_LEN}); left as it is, choose another --image",
                path.display()
            ),
            Self::Io(path, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "{}: no permission; make it readable and writable for you, or choose another --image",
                    path.display()
                )
            }
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// An open image: the flash of one key.
#[derive(Debug)]
pub struct Image(Backing);

#[derive(Debug)]
enum Backing {
    /// Only blocks that hold something take memory.
    Memory(Vec<Option<Box<[u8; BLOCK_LEN]>>>),
    File(File),
}

impl Image {
    /// An erased flash in memory.
    pub fn in_memory() -> Self {
        Self(Backing::Memory(vec![None; BLOCK_COUNT]))
    }

    /// Opens and locks an image.
    pub fn open(source: &ImageSource, durability: Durability, missing: Missing) -> Result<Self, ImageError> {
        let path = match source {
            ImageSource::Memory => return Ok(Self::in_memory()),
            ImageSource::File(path) => path,
        };
        match Self::open_file(path, durability) {
            Err(ImageError::Missing(_)) if missing == Missing::Create => {
                // Someone may make it at the same moment. Then theirs is the image, and they have the lock.
                create(path).map_err(|error| ImageError::Io(path.clone(), error))?;
                Self::open_file(path, durability)
            }
            opened => opened,
        }
    }

    /// Closes a file to other users that was open to them. Only for what has proved to be a key's image.
    pub(crate) fn make_private(source: &ImageSource) {
        let ImageSource::File(path) = source else { return };
        let closed = path.metadata().and_then(|metadata| {
            if metadata.mode() & 0o077 == 0 {
                return Ok(());
            }
            tracing::warn!("{}: was open to other users; closing it to them", path.display());
            fs::set_permissions(path, fs::Permissions::from_mode(MODE))
        });
        if let Err(error) = closed {
            tracing::warn!("{}: {error}", path.display());
        }
    }

    fn open_file(path: &Path, durability: Durability) -> Result<Self, ImageError> {
        let dsync = match durability {
            Durability::Disk => rustix::fs::OFlags::DSYNC.bits().cast_signed(),
            Durability::Process => 0,
        };
        open_locked(path, dsync, &[IMAGE_LEN as u64]).map(|file| Self(Backing::File(file)))
    }
}

/// Opens and locks an image for another process to use, which has it as long as the file is open here.
///
/// `lengths` are those that it may have, in bytes.
pub(crate) fn lock_image(path: &Path, missing: Missing, lengths: &[u64]) -> Result<File, ImageError> {
    match open_locked(path, 0, lengths) {
        Err(ImageError::Missing(_)) if missing == Missing::Create => {
            create(path).map_err(|error| ImageError::Io(path.to_owned(), error))?;
            open_locked(path, 0, lengths)
        }
        opened => opened,
    }
}

fn open_locked(path: &Path, flags: i32, lengths: &[u64]) -> Result<File, ImageError> {
    let io_error = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ImageError::Missing(path.to_owned()),
        io::ErrorKind::IsADirectory => ImageError::NotAFile(path.to_owned()),
        _ => ImageError::Io(path.to_owned(), error),
    };
    // Asked first: to open a device or a pipe can do things.
    if !fs::metadata(path).map_err(io_error)?.is_file() {
        return Err(ImageError::NotAFile(path.to_owned()));
    }
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(ImageError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => return Err(io_error(error)),
    }
    // Asked under the lock: what another process does to the file is over.
    let metadata = file.metadata().map_err(io_error)?;
    if !lengths.contains(&metadata.len()) {
        return Err(ImageError::WrongSize(path.to_owned(), metadata.len()));
    }
    Ok(file)
}

/// Makes an erased image under a name of its own, and then gives it `path`, unless something is there.
fn create(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".brasskey-")
        .suffix(".new")
        .permissions(fs::Permissions::from_mode(MODE))
        .tempfile_in(folder)?;
    for _ in 0..BLOCK_COUNT {
        file.write_all(&[ERASED; BLOCK_LEN])?;
    }
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(folder)?.sync_all(),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

/// Logs what the system said, and tells littlefs that the flash failed.
fn flash_error(error: io::Error) -> FsError {
    tracing::error!("key image: {error}");
    FsError::IO
}

/// Checks that a piece lies within the flash.
fn within(offset: usize, length: usize) -> FsResult<()> {
    match offset.checked_add(length) {
        Some(end) if end <= IMAGE_LEN => Ok(()),
        _ => Err(FsError::IO),
    }
}

impl littlefs2::driver::Storage for Image {
    const READ_SIZE: usize = 16;
    const WRITE_SIZE: usize = 16;
    const BLOCK_SIZE: usize = BLOCK_LEN;
    const BLOCK_COUNT: usize = BLOCK_COUNT;
    type CACHE_SIZE = U512;
    type LOOKAHEAD_SIZE = U16;

    fn read(&mut self, offset: usize, buf: &mut [u8]) -> FsResult<usize> {
        within(offset, buf.len())?;
        match &self.0 {
            Backing::File(file) => file.read_exact_at(buf, offset as u64).map_err(flash_error)?,
            Backing::Memory(blocks) => {
                for (at, byte) in (offset..).zip(buf.iter_mut()) {
                    *byte = blocks[at / BLOCK_LEN].as_ref().map_or(ERASED, |block| block[at % BLOCK_LEN]);
                }
            }
        }
        Ok(buf.len())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> FsResult<usize> {
        within(offset, data.len())?;
        match &mut self.0 {
            Backing::File(file) => file.write_all_at(data, offset as u64).map_err(flash_error)?,
            Backing::Memory(blocks) => {
                for (at, &byte) in (offset..).zip(data) {
                    let block = blocks[at / BLOCK_LEN].get_or_insert_with(|| Box::new([ERASED; BLOCK_LEN]));
                    block[at % BLOCK_LEN] = byte;
                }
            }
        }
        Ok(data.len())
    }

    fn erase(&mut self, offset: usize, length: usize) -> FsResult<usize> {
        within(offset, length)?;
        match &mut self.0 {
            Backing::File(file) => {
                for block in (offset..offset + length).step_by(BLOCK_LEN) {
                    file.write_all_at(&[ERASED; BLOCK_LEN], block as u64).map_err(flash_error)?;
                }
            }
            Backing::Memory(blocks) => {
                blocks[offset / BLOCK_LEN..(offset + length) / BLOCK_LEN].fill(None);
            }
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use littlefs2::driver::Storage;
    use std::os::unix::fs::symlink;

    fn open(path: &Path, missing: Missing) -> Result<Image, ImageError> {
        Image::open(&ImageSource::File(path.to_owned()), Durability::Process, missing)
    }

    fn exercise(image: &mut Image) {
        let mut buf = [0; 32];
        image.read(4096 - 16, &mut buf).unwrap();
        assert_eq!(buf, [ERASED; 32]);
        image.write(4096 - 16, &[7; 32]).unwrap();
        image.read(4096 - 16, &mut buf).unwrap();
        assert_eq!(buf, [7; 32]);
        image.erase(4096, 4096).unwrap();
        image.read(4096 - 16, &mut buf).unwrap();
        assert_eq!(buf[..16], [7; 16]);
        assert_eq!(buf[16..], [ERASED; 16]);

        assert!(image.read(IMAGE_LEN - 16, &mut buf).is_err());
        assert!(image.write(IMAGE_LEN, &[0; 16]).is_err());
        assert!(image.erase(usize::MAX - 4095, 4096).is_err());
        image.read(IMAGE_LEN - 16, &mut buf[..16]).unwrap();
    }

    #[test]
    fn memory_behaves_as_flash() {
        exercise(&mut Image::in_memory());
    }

    #[test]
    fn a_file_behaves_as_flash_and_keeps_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some/where/key.img");
        let mut image =
            Image::open(&ImageSource::File(path.clone()), Durability::Disk, Missing::Create).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o777), (IMAGE_LEN as u64, MODE));
        exercise(&mut image);
        drop(image);

        let mut image = open(&path, Missing::Refuse).unwrap();
        let mut buf = [0; 32];
        image.read(4096 - 16, &mut buf).unwrap();
        assert_eq!(buf[..16], [7; 16]);
        // Nothing else is left in the folder.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_open_image_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.img");
        let first = open(&path, Missing::Create).unwrap();
        let error = open(&path, Missing::Create).unwrap_err();
        assert!(matches!(error, ImageError::Locked(_)), "{error}");
        drop(first);
        open(&path, Missing::Refuse).unwrap();
    }

    #[test]
    fn what_is_not_an_image_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter.txt");
        assert!(matches!(open(&path, Missing::Refuse), Err(ImageError::Missing(_))));
        assert!(!path.exists());

        fs::write(&path, "Dear key").unwrap();
        assert!(matches!(open(&path, Missing::Create), Err(ImageError::WrongSize(_, 8))));
        assert_eq!(fs::read(&path).unwrap(), b"Dear key");

        fs::write(&path, "").unwrap();
        assert!(matches!(open(&path, Missing::Create), Err(ImageError::WrongSize(_, 0))));

        assert!(matches!(open(folder.path(), Missing::Create), Err(ImageError::NotAFile(_))));
        assert!(matches!(open(Path::new("/dev/null"), Missing::Create), Err(ImageError::NotAFile(_))));
        assert!(matches!(open(&path.join("below"), Missing::Create), Err(ImageError::Io(..))));

        // A link to nowhere is not followed by making a file there, nor replaced.
        let link = folder.path().join("link.img");
        symlink(folder.path().join("nowhere"), &link).unwrap();
        assert!(open(&link, Missing::Create).is_err());
        assert!(link.is_symlink());
    }

    #[test]
    fn an_image_open_to_others_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.img");
        drop(open(&path, Missing::Create).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        let _image = open(&path, Missing::Refuse).unwrap();
        assert_eq!(mode(), 0o644, "it could be something else");
        Image::make_private(&ImageSource::File(path.clone()));
        assert_eq!(mode(), MODE);
    }

    #[test]
    fn keys_of_one_process_have_images_of_their_own() {
        let source: ImageSource = "/var/lib/some.folder/key.img".parse().unwrap();
        assert_eq!(source.numbered(1), source);
        assert_eq!(source.numbered(2).to_string(), "/var/lib/some.folder/key-2.img");
        let source: ImageSource = "bare".parse().unwrap();
        assert_eq!(source.numbered(1000).to_string(), "bare-1000");
        assert_eq!(":memory:".parse::<ImageSource>().unwrap().numbered(3), ImageSource::Memory);
    }
}
