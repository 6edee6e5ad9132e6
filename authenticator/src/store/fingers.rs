//! Fingerprint templates (CTAP 2.3 §6.7), for bodies that have a sensor.
//!
//! One small file: two bytes of identifier, one of the name's length, 64 for the name, 32 for what the sensor
//! recognizes the finger by; for each finger.

use heapless::Vec;
use littlefs2::driver::Storage;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{BootError, FINGERS, NEW, Store, StoreError};

/// How many fingers may be enrolled.
pub(crate) const MAX_FINGERS: usize = 5;

/// maxTemplateFriendlyName, in bytes.
pub(crate) const MAX_FRIENDLY_NAME: usize = 64;

const LENGTH: usize = 2 + 1 + MAX_FRIENDLY_NAME + 32;

/// An enrolled finger. Debug shows none of it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Template {
    #[zeroize(skip)]
    pub(crate) id: [u8; 2],
    #[zeroize(skip)]
    name: Vec<u8, MAX_FRIENDLY_NAME>,
    print: [u8; 32],
}

impl Template {
    pub(crate) fn new(id: [u8; 2], print: [u8; 32]) -> Self {
        Self { id, name: Vec::new(), print }
    }

    /// Is it this finger's?
    pub(crate) fn matches(&self, print: &[u8; 32]) -> bool {
        self.print.ct_eq(print).into()
    }

    pub(crate) fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// Errors: the name is longer than [`MAX_FRIENDLY_NAME`].
    pub(crate) fn set_name(&mut self, name: &str) -> Result<(), heapless::CapacityError> {
        self.name = Vec::from_slice(name.as_bytes())?;
        Ok(())
    }

    fn to_bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..2].copy_from_slice(&self.id);
        bytes[2] = self.name.len() as u8;
        bytes[3..][..self.name.len()].copy_from_slice(&self.name);
        bytes[LENGTH - 32..].copy_from_slice(&self.print);
        bytes
    }

    fn from_bytes(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (&[a, b, length], rest) = bytes.split_first_chunk()?;
        let (name, print) = rest.split_first_chunk::<MAX_FRIENDLY_NAME>()?;
        let name = name.get(..usize::from(length))?;
        core::str::from_utf8(name).ok()?;
        Some(Self { id: [a, b], name: Vec::from_slice(name).ok()?, print: print.try_into().ok()? })
    }
}

/// Every enrolled finger.
pub(crate) type Templates = Vec<Template, MAX_FINGERS>;

impl<S: Storage> Store<'_, S> {
    /// How many fingers are enrolled.
    pub(crate) fn fingers(&self) -> usize {
        self.fingers
    }

    pub(super) fn load_fingers(&mut self) -> Result<(), BootError> {
        let templates = self.templates().map_err(|_| BootError::Damaged("list of fingerprints"))?;
        self.fingers = templates.len();
        Ok(())
    }

    pub(crate) fn templates(&self) -> Result<Templates, StoreError> {
        let fs = self.fs()?;
        let mut templates = Templates::new();
        if !fs.exists(FINGERS) {
            return Ok(templates);
        }
        let mut bytes: Vec<u8, { LENGTH * MAX_FINGERS }> = fs.read(FINGERS)?;
        let (records, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(StoreError::Damaged);
        }
        for record in records {
            let template = Template::from_bytes(record).ok_or(StoreError::Damaged)?;
            templates.push(template).map_err(|_| StoreError::Damaged)?;
        }
        bytes.as_mut_slice().zeroize();
        Ok(templates)
    }

    pub(crate) fn set_templates(&mut self, templates: &Templates) -> Result<(), StoreError> {
        let mut bytes: Vec<u8, { LENGTH * MAX_FINGERS }> = Vec::new();
        for template in templates {
            bytes.extend_from_slice(&template.to_bytes()).map_err(|_| StoreError::Full)?;
        }
        let outcome = self.put(FINGERS, NEW, &bytes);
        bytes.as_mut_slice().zeroize();
        outcome?;
        self.fingers = templates.len();
        Ok(())
    }
}
