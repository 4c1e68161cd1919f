//! Files: read with a reason, written atomically.

use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The text of a file; `None` where there is none.
///
/// # Errors
/// It is there and cannot be read, or is no UTF-8.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why).with_context(|| format!("reading {}", path.display())),
    }
}

/// As [`read`], whatever is in it.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why).with_context(|| format!("reading {}", path.display())),
    }
}

/// More than anybody keeps in a file that is read whole on somebody's word.
const LARGEST: u64 = 16 << 20;

/// As [`read`], of a file that only root can have written.
///
/// # Errors
/// It is there and cannot be read, is a symlink or no file, or somebody else could have written it.
pub fn read_roots(path: &Path) -> Result<Option<String>> {
    use std::io::Read;
    let context = || format!("reading {}", path.display());
    // Without the second a pipe would hold whoever opens it.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).with_context(context)?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) if path.is_symlink() => bail!("{} is a symlink, and only a plain file is believed", path.display()),
        Err(why) => return Err(why).with_context(context),
    };
    let metadata = file.metadata().with_context(context)?;
    if !metadata.is_file() {
        bail!("{} is no plain file", path.display());
    }
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        bail!("somebody else than root could have written {}", path.display());
    }
    if metadata.len() > LARGEST {
        bail!("{} has {} bytes, more than anybody writes there", path.display(), metadata.len());
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).with_context(context)?;
    Ok(Some(text))
}

/// A file to be read, piece by piece.
///
/// # Errors
/// It is not there, or may not be read.
pub fn open(path: &Path) -> Result<std::io::BufReader<File>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(std::io::BufReader::new(file))
}

/// Removes a file; one that is gone already is no error.
///
/// # Errors
/// It cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(why).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a folder, where nothing is in it and nothing is in the way.
pub fn remove_empty_folder(path: &Path) {
    let _ = fs::remove_dir(path);
}

/// A file's own size, and its file system's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub length: u64,
    pub allocated: u64,
    pub free: u64,
    pub read_only: bool,
    /// Gone with the next boot.
    pub in_memory: bool,
}

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// How large a file is, how much of it is there, and how much more there could be, in bytes.
///
/// # Errors
/// It is not there or cannot be looked at.
pub fn space(path: &Path) -> Result<Space> {
    let context = || format!("looking at {}", path.display());
    let metadata = fs::metadata(path).with_context(context)?;
    let system = rustix::fs::statvfs(path).with_context(context)?;
    let kind = u64::try_from(rustix::fs::statfs(path).with_context(context)?.f_type).unwrap_or(0);
    Ok(Space {
        in_memory: IN_MEMORY.contains(&kind),
        length: metadata.len(),
        // Some file systems without an end of their own say the largest number there is.
        allocated: metadata.blocks().saturating_mul(512),
        free: system.f_bfree.saturating_mul(system.f_frsize),
        read_only: system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

/// Makes a file longer, never shorter; the new part is a hole.
///
/// # Errors
/// It cannot be written, is no file, or is longer already.
pub fn grow(path: &Path, size: u64) -> Result<()> {
    let context = || format!("making {} longer", path.display());
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).with_context(context)?;
    let file = OpenOptions::new().write(true).custom_flags(nofollow).open(path).with_context(context)?;
    let metadata = file.metadata().with_context(context)?;
    if !metadata.is_file() || metadata.len() > size {
        bail!("{} is no file, or longer than {size} bytes already", path.display());
    }
    file.set_len(size).and_then(|()| file.sync_all()).with_context(context)
}

/// Makes the folder of a file, for root alone where it is missing.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(path: &Path) -> Result<()> {
    let context = || format!("making the folder of {}", path.display());
    let folder = path.parent().with_context(context)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(context)
}

/// A path without symlinks, from the root; none where there is nothing.
///
/// # Errors
/// It cannot be followed.
pub fn real(path: &Path) -> Result<Option<std::path::PathBuf>> {
    match std::fs::canonicalize(path) {
        Ok(real) => Ok(Some(real)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why).with_context(|| format!("looking for {}", path.display())),
    }
}

/// The folder where this process is.
///
/// # Errors
/// It is gone.
pub fn here() -> Result<std::path::PathBuf> {
    std::env::current_dir().context("looking for the present folder")
}

/// Has a file's bytes reach its disk.
///
/// # Errors
/// They do not.
pub fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).with_context(|| format!("writing {}", path.display()))
}

/// Makes a file of this length, a hole from end to end, for root alone, in a folder that is made where it is missing.
///
/// # Errors
/// Something is there already, or the file system cannot hold a file so large.
pub fn make(path: &Path, size: u64) -> Result<()> {
    let context = || format!("making {}", path.display());
    let folder = path.parent().with_context(context)?;
    make_folder(path)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(context)?;
    let made = file.set_len(size).and_then(|()| file.sync_all()).and_then(|()| File::open(folder)?.sync_all());
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made.with_context(context)
}

/// Who a file is: what a path alone does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The number of its file system.
    pub device: u64,
    pub inode: u64,
    /// It is a plain file itself, no link to one.
    pub plain: bool,
}

/// Who the file at a path is; `None` where there is none.
///
/// # Errors
/// It cannot be looked at.
pub fn identity(path: &Path) -> Result<Option<Identity>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(Identity { device: found.dev(), inode: found.ino(), plain: found.is_file() })),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why).with_context(|| format!("looking at {}", path.display())),
    }
}

/// Whether a plain file is there, or a link to one.
///
/// # Errors
/// It cannot be looked at.
pub fn is_plain(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(why) if [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory].contains(&why.kind()) => {
            Ok(false)
        }
        Err(why) => Err(why).with_context(|| format!("looking at {}", path.display())),
    }
}

/// A folder, as far as it can be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folder {
    /// The number of its file system.
    pub device: u64,
    pub inode: u64,
    /// It is a symlink.
    pub is_link: bool,
}

/// What is at a path where a folder is looked for; none where nothing is.
///
/// # Errors
/// It cannot be looked at.
pub fn folder(path: &Path) -> Result<Option<Folder>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(Folder { device: found.dev(), inode: found.ino(), is_link: found.is_symlink() })),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why).with_context(|| format!("looking at {}", path.display())),
    }
}

/// Replaces a file in one step: a reader sees the old text or the new one, also after a power cut. Owner and mode
/// of the old file are kept; a new one gets `mode`. A symlink in its place is refused, not followed.
///
/// # Errors
/// The folder cannot be made or written, or the path is a symlink or no file.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let context = || format!("writing {}", path.display());
    fs::create_dir_all(path.parent().with_context(context)?).with_context(context)?;
    put(path, text, mode)
}

/// How long ago a file was changed, or something else took its name; none where there is none, or the clock was set back.
pub fn age(path: &Path) -> Option<std::time::Duration> {
    let changed = fs::symlink_metadata(path).ok()?;
    let seconds = std::time::Duration::from_secs(u64::try_from(changed.ctime()).ok()?);
    let rest = std::time::Duration::from_nanos(u64::try_from(changed.ctime_nsec()).ok()?);
    std::time::SystemTime::UNIX_EPOCH.checked_add(seconds)?.checked_add(rest)?.elapsed().ok()
}

/// Gives a file the mode and the owner of another.
fn like(file: &File, old: &fs::Metadata) -> std::io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(old.mode()))?;
    std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))
}

/// Whether two plain files are there and hold the same bytes.
pub fn same(one: &Path, other: &Path) -> bool {
    // Whoever opens a pipe waits.
    let is_plain = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    is_plain(one)
        && is_plain(other)
        && match (fs::read(one), fs::read(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        }
}

/// Keeps a copy of a file under a name that is free, with its owner and mode: whole, or not there.
///
/// # Errors
/// It cannot be read, or the name is taken.
pub fn keep_copy(path: &Path, copy: &Path) -> Result<()> {
    let context = || format!("copying {} to {}", path.display(), copy.display());
    let bytes = fs::read(path).with_context(context)?;
    let old = fs::metadata(path).with_context(context)?;
    let temporary = temporary(copy.parent().with_context(context)?, copy).with_context(context)?;
    let written = (|| -> Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        like(&file, &old)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        // Not where the name is taken, which a rename would be put over.
        Ok(fs::hard_link(&temporary, copy)?)
    })();
    let _ = fs::remove_file(&temporary);
    written.with_context(context)
}

/// Gives a file or a folder a name that is free, in its file system.
///
/// # Errors
/// The name is taken, lies in another file system, or what is to be moved is a mount.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("moving {} to {}", from.display(), to.display());
    let here = rustix::fs::CWD;
    rustix::fs::renameat_with(here, from, here, to, rustix::fs::RenameFlags::NOREPLACE).with_context(context)?;
    sync(to.parent().with_context(context)?)
}

/// Has a file take the place of another.
///
/// # Errors
/// It cannot.
pub fn take_place(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("moving {} to {}", from.display(), to.display());
    fs::rename(from, to).with_context(context)?;
    sync(to.parent().with_context(context)?)
}

/// A name for what becomes a file in one step. What killed runs left under such names is removed; whoever writes here
/// then refuses a link that somebody planted.
pub(super) fn temporary(folder: &Path, path: &Path) -> Result<std::path::PathBuf> {
    let name = path.file_name().context("a file needs a name")?.to_string_lossy();
    let prefix = format!(".{name}.dmtool-");
    for entry in fs::read_dir(folder)?.flatten() {
        let left = entry.file_name();
        let of = left.to_string_lossy().strip_prefix(&prefix).and_then(|id| id.parse::<u32>().ok());
        if of.is_some_and(|id| id == std::process::id() || !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(folder.join(format!("{prefix}{}", std::process::id())))
}

/// Whether [`replace`] could do its work here, as far as that can be said before.
///
/// # Errors
/// Why not: a symlink or no file stands there, it or its folder is immutable, or the file system is read-only.
pub fn replaceable(path: &Path) -> Result<()> {
    let writable = |at: &Path| {
        rustix::fs::access(at, rustix::fs::Access::WRITE_OK)
            .with_context(|| format!("{} cannot be written", at.display()))
    };
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => bail!("{} is a symlink, so it is left alone", path.display()),
        Ok(found) if found.is_dir() => bail!("{} is a directory", path.display()),
        Ok(found) if !found.is_file() => bail!("{} is no plain file", path.display()),
        Ok(_) => writable(path)?,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
        Err(why) => return Err(why).with_context(|| format!("{} cannot be looked at", path.display())),
    }
    let folder = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("."));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if !folder.is_dir() {
        bail!("{} is no folder", folder.display());
    }
    writable(folder)
}

/// As [`replace`], for root's eyes alone, folder and all.
///
/// # Errors
/// As [`replace`]'s.
pub fn replace_private(path: &Path, text: &str) -> Result<()> {
    make_folder(path)?;
    put(path, text, 0o600)
}

/// The file is there, but a power cut may take it back: its folder could not be flushed. Any other error of [`put`]
/// left the old file.
#[derive(Debug, Clone, Copy)]
pub struct Unsettled;

impl std::fmt::Display for Unsettled {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("the file is there, but its folder could not be flushed to its disk")
    }
}

/// As [`replace`], into a folder that is there.
///
/// # Errors
/// The folder is not there or cannot be written, or the path is a symlink or no file: the old file is as it was, but
/// for [`Unsettled`].
pub fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    let context = || format!("writing {}", path.display());
    let folder = path.parent().with_context(context)?;
    // A bare name stands in the folder where we are.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let old = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(metadata),
        Ok(_) => bail!("{} is a symlink or no file, so it is left alone", path.display()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => None,
        Err(why) => return Err(why).with_context(context),
    };
    let temporary = temporary(folder, path).with_context(context)?;
    let written = (|| -> Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        if let Some(old) = &old {
            like(&file, old)?;
        } else {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder).and_then(|folder| folder.sync_all()).context(Unsettled)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(context)
}
