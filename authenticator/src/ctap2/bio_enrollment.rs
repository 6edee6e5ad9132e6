//! authenticatorBioEnrollment (CTAP 2.3 §6.7), also under its preview's number 0x40. For bodies with a sensor.

use ctap_types::ctap2::Error;
use heapless::Vec;
use serde::Serialize;
use serde_bytes::Bytes;
use serde_indexed::SerializeIndexed;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::subcommand::Subcommand;
use crate::authenticator::Authenticator;
use crate::pin::Permissions;
use crate::platform::{Operation, Platform, Prompt, Scan, Sensor};
use crate::store::fingers::{MAX_FINGERS, MAX_FRIENDLY_NAME, Template};
use crate::user::USER_TIMEOUT_MS;
use crate::wire::{Map, Value};

/// The only modality there is.
const FINGERPRINT: u64 = 1;

mod subcommand {
    pub(super) const ENROLL_BEGIN: u8 = 0x01;
    pub(super) const ENROLL_CAPTURE_NEXT_SAMPLE: u8 = 0x02;
    pub(super) const CANCEL_CURRENT_ENROLLMENT: u8 = 0x03;
    pub(super) const ENUMERATE_ENROLLMENTS: u8 = 0x04;
    pub(super) const SET_FRIENDLY_NAME: u8 = 0x05;
    pub(super) const REMOVE_ENROLLMENT: u8 = 0x06;
    pub(super) const GET_FINGERPRINT_SENSOR_INFO: u8 = 0x07;
}

/// lastEnrollSampleStatus (§6.7.3).
mod feedback {
    pub(super) const GOOD: u8 = 0x00;
    pub(super) const MERGE_FAILURE: u8 = 0x0a;
    pub(super) const EXISTS: u8 = 0x0b;
    pub(super) const NO_USER_ACTIVITY: u8 = 0x0d;
}

/// The template that a subcommand is about.
fn template_id<'a>(request: &Subcommand<'a>) -> Result<&'a [u8], Error> {
    request.require(0x01)?.bytes()
}

/// How long to wait for a finger, in milliseconds.
fn timeout_ms(request: &Subcommand<'_>) -> Result<u32, Error> {
    let timeout = request.params()?.and_then(|params| params.get(0x03)).map(Value::unsigned).transpose()?;
    let asked = timeout.map_or(USER_TIMEOUT_MS, |ms| u32::try_from(ms).unwrap_or(USER_TIMEOUT_MS));
    Ok(asked.min(USER_TIMEOUT_MS))
}

#[derive(Default, SerializeIndexed)]
#[serde_indexed(offset = 1)]
struct Response<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    modality: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint_kind: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_capture_samples_required_for_enroll: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_id: Option<&'a Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_enroll_sample_status: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_samples: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_infos: Option<Vec<TemplateInfo<'a>, MAX_FINGERS>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_template_friendly_name: Option<usize>,
}

#[derive(SerializeIndexed)]
#[serde_indexed(offset = 1)]
struct TemplateInfo<'a> {
    template_id: &'a Bytes,
    template_friendly_name: &'a str,
}

/// A finger of which some samples are there. Debug shows none of it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Enrollment {
    template_id: [u8; 2],
    print: Option<[u8; 32]>,
    remaining: u8,
}

impl<P: Platform> Authenticator<'_, P> {
    /// Errors: `INVALID_COMMAND` on a body without a sensor.
    pub(crate) fn bio_enrollment(&mut self, parameters: &[u8], response: &mut [u8]) -> Result<usize, Error> {
        let sensor = self.sensor().ok_or(Error::InvalidCommand)?;
        let map = Map::parameters(parameters)?;
        let modality = map.get(0x01).map(Value::unsigned).transpose()?;
        let request = Subcommand::parse(map, 0x02)?;
        let Some(command) = request.number else {
            return match map.get(0x06).map(Value::boolean).transpose()? {
                Some(true) => {
                    answer(&Response { modality: Some(FINGERPRINT), ..Response::default() }, response)
                }
                _ => Err(Error::MissingParameter),
            };
        };
        if modality.ok_or(Error::MissingParameter)? != FINGERPRINT {
            return Err(Error::InvalidParameter);
        }
        let command = u8::try_from(command).map_err(|_| Error::InvalidSubcommand)?;
        match command {
            subcommand::CANCEL_CURRENT_ENROLLMENT => {
                self.enrollment = None;
                Ok(0)
            }
            subcommand::GET_FINGERPRINT_SENSOR_INFO => {
                let info = Response {
                    modality: Some(FINGERPRINT),
                    fingerprint_kind: Some(if sensor.swipe { 2 } else { 1 }),
                    max_capture_samples_required_for_enroll: Some(sensor.samples),
                    max_template_friendly_name: Some(MAX_FRIENDLY_NAME),
                    ..Response::default()
                };
                answer(&info, response)
            }
            subcommand::ENROLL_BEGIN => {
                self.may_enroll(&request, command)?;
                let templates = self.store.templates()?;
                if templates.is_full() {
                    return Err(Error::FingerprintDatabaseFull);
                }
                // One that was never given to another finger of those that are there.
                let highest = templates.iter().map(|template| u16::from_be_bytes(template.id)).max();
                let template_id = highest.unwrap_or(0).wrapping_add(1).to_be_bytes();
                let enrollment = Enrollment { template_id, print: None, remaining: sensor.samples.max(1) };
                self.capture(enrollment, timeout_ms(&request)?, true, response)
            }
            subcommand::ENROLL_CAPTURE_NEXT_SAMPLE => {
                self.may_enroll(&request, command)?;
                let id = template_id(&request)?;
                let timeout_ms = timeout_ms(&request)?;
                let enrollment = self.enrollment.take_if(|enrollment| enrollment.template_id == *id);
                self.capture(enrollment.ok_or(Error::InvalidOption)?, timeout_ms, false, response)
            }
            subcommand::ENUMERATE_ENROLLMENTS => {
                self.may_enroll(&request, command)?;
                let templates = self.store.templates()?;
                if templates.is_empty() {
                    return Err(Error::InvalidOption);
                }
                let info = |template| {
                    let template: &Template = template;
                    let template_id = Bytes::new(&template.id);
                    TemplateInfo { template_id, template_friendly_name: template.name() }
                };
                let template_infos = Some(templates.iter().map(info).collect());
                answer(&Response { template_infos, ..Response::default() }, response)
            }
            subcommand::SET_FRIENDLY_NAME => {
                self.may_enroll(&request, command)?;
                let id = template_id(&request)?;
                let name = request.require(0x02)?.text()?;
                let mut templates = self.store.templates()?;
                let template = templates.iter_mut().find(|template| template.id == *id);
                let template = template.ok_or(Error::InvalidOption)?;
                template.set_name(name).map_err(|_| Error::InvalidLength)?;
                self.store.set_templates(&templates)?;
                Ok(0)
            }
            subcommand::REMOVE_ENROLLMENT => {
                self.may_enroll(&request, command)?;
                let id = template_id(&request)?;
                let mut templates = self.store.templates()?;
                let before = templates.len();
                templates.retain(|template| template.id != *id);
                if templates.len() == before {
                    return Err(Error::InvalidOption);
                }
                self.store.set_templates(&templates)?;
                Ok(0)
            }
            _ => Err(Error::InvalidSubcommand),
        }
    }

    /// What the sensor is like, if there is one.
    pub(crate) fn sensor(&mut self) -> Option<Sensor> {
        self.platform.verification().map(|sensor| sensor.sensor())
    }

    fn may_enroll(&mut self, request: &Subcommand<'_>, command: u8) -> Result<(), Error> {
        self.authorize_subcommand(request, &[FINGERPRINT as u8, command], Permissions::BIO_ENROLLMENT)?;
        Ok(())
    }

    /// Takes one sample. A finger that is enrolled already is not enrolled again.
    fn capture(
        &mut self,
        mut enrollment: Enrollment,
        timeout_ms: u32,
        first: bool,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let prompt = Prompt {
            operation: Operation::Enroll,
            rp_id: None,
            rp_id_hash: None,
            user: None,
            long_touch: false,
        };
        let sensor = self.platform.verification().ok_or(Error::InvalidCommand)?;
        let mut templates = self.store.templates()?;
        let status = match sensor.scan(&prompt, timeout_ms) {
            Scan::Finger(print) if templates.iter().any(|template| template.matches(&print)) => {
                feedback::EXISTS
            }
            Scan::Finger(print) if enrollment.print.is_some_and(|first| first != print) => {
                feedback::MERGE_FAILURE
            }
            Scan::Finger(print) => {
                enrollment.print = Some(print);
                enrollment.remaining -= 1;
                feedback::GOOD
            }
            Scan::Poor(status) => status,
            Scan::TimedOut => feedback::NO_USER_ACTIVITY,
            Scan::Denied => return Err(Error::OperationDenied),
            Scan::Cancelled => return Err(Error::KeepaliveCancel),
        };
        let (template_id, remaining) = (enrollment.template_id, enrollment.remaining);
        self.enrollment = match enrollment.print {
            Some(print) if remaining == 0 => {
                let template = Template::new(template_id, print);
                templates.push(template).map_err(|_| Error::FingerprintDatabaseFull)?;
                self.store.set_templates(&templates)?;
                None
            }
            _ => Some(enrollment),
        };
        let sample = Response {
            template_id: first.then(|| Bytes::new(&template_id)),
            last_enroll_sample_status: Some(status),
            remaining_samples: Some(remaining),
            ..Response::default()
        };
        answer(&sample, response)
    }
}

fn answer(response: &impl Serialize, buffer: &mut [u8]) -> Result<usize, Error> {
    crate::wire::encode(response, buffer)
}
