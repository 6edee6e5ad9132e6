//! [`Key`]: one attached key and one channel to it.

use std::net::SocketAddr;
use std::sync::Arc;

use ciborium::Value;

use crate::attestation::Attested;
use crate::cose::PublicKey;
use crate::ctap1::{self, Authentication, Registration};
use crate::ctap2::{Assertion, GetAssertion, MakeCredential, Parameters, command};
use crate::ctaphid::{self, Channel};
use crate::error::demand;
use crate::reports::Reports;
use crate::usb::Device;
use crate::{Error, Result, cbor, usbip};

/// An attached key.
pub struct Key<R = Device> {
    channel: Channel<R>,
}

impl Key {
    /// Attaches the first device that a server exports.
    pub fn attach(address: SocketAddr) -> Result<Self> {
        let exported = usbip::list(address)?;
        let first = exported.first().ok_or_else(|| Error::Local("the server exports nothing".into()))?;
        Self::over(Arc::new(Device::attach(address, &first.bus_id)?))
    }
}

impl<R: Reports> Key<R> {
    /// Opens a channel to an attached device.
    pub fn over(device: Arc<R>) -> Result<Self> {
        Ok(Self { channel: Channel::open(&device)? })
    }

    /// The channel, for what this type has no word for.
    pub fn channel(&self) -> &Channel<R> {
        &self.channel
    }

    /// The device below the channel.
    pub fn device(&self) -> &Arc<R> {
        self.channel.device()
    }

    /// Sends a CTAP2 command with `parameters` as they are. Returns the response after the status byte.
    ///
    /// Errors: [`Error::Status`].
    pub fn raw(&self, command: u8, parameters: &[u8]) -> Result<Vec<u8>> {
        self.send(command, parameters)?;
        self.receive()
    }

    /// Sends a CTAP2 command and does not wait for its answer.
    pub fn send(&self, command: u8, parameters: &[u8]) -> Result<()> {
        self.channel.send(ctaphid::command::CBOR, &[&[command], parameters].concat())
    }

    /// The answer to what [`Self::send`] sent.
    pub fn receive(&self) -> Result<Vec<u8>> {
        Self::after_status(self.channel.receive(ctaphid::command::CBOR)?.0)
    }

    fn after_status(mut response: Vec<u8>) -> Result<Vec<u8>> {
        demand!(!response.is_empty(), "a CBOR response without a status");
        match response.remove(0) {
            0 => Ok(response),
            status => {
                demand!(response.is_empty(), "data beside status {status:#04x}");
                Err(Error::Status(status))
            }
        }
    }

    /// Sends a CTAP2 command whose response is a map.
    pub fn call(&self, command: u8, parameters: &Parameters) -> Result<Value> {
        cbor::decode(&self.raw(command, &parameters.encode())?)
    }

    /// authenticatorGetInfo.
    pub fn get_info(&self) -> Result<Value> {
        cbor::decode(&self.raw(command::GET_INFO, &[])?)
    }

    /// authenticatorMakeCredential.
    pub fn make_credential(&self, request: &MakeCredential) -> Result<Attested> {
        Attested::parse(&self.call(command::MAKE_CREDENTIAL, &request.parameters())?)
    }

    /// authenticatorGetAssertion.
    pub fn get_assertion(&self, request: &GetAssertion) -> Result<Assertion> {
        Assertion::parse(&self.call(command::GET_ASSERTION, &request.parameters())?)
    }

    /// authenticatorGetNextAssertion.
    pub fn get_next_assertion(&self) -> Result<Assertion> {
        Assertion::parse(&cbor::decode(&self.raw(command::GET_NEXT_ASSERTION, &[])?)?)
    }

    /// authenticatorReset.
    pub fn reset(&self) -> Result<()> {
        self.expect_empty(command::RESET)
    }

    /// authenticatorSelection.
    pub fn selection(&self) -> Result<()> {
        self.expect_empty(command::SELECTION)
    }

    fn expect_empty(&self, command: u8) -> Result<()> {
        let response = self.raw(command, &[])?;
        demand!(response.is_empty(), "a response to {command:#04x}: {response:02x?}");
        Ok(())
    }

    /// Sends a U2F raw message. Returns the response before its status word.
    ///
    /// Errors: [`Error::StatusWord`].
    pub fn apdu(&self, apdu: &[u8]) -> Result<Vec<u8>> {
        ctap1::parse_response(self.channel.call(ctaphid::command::MSG, apdu)?)
    }

    /// U2F_REGISTER, asked for again until there is a touch, as U2F clients do; the answer is verified.
    pub fn u2f_register(&self, challenge: &[u8; 32], application: &[u8; 32]) -> Result<Registration> {
        let apdu = ctap1::extended(ctap1::REGISTER, 0, &[&challenge[..], application].concat());
        Registration::parse(&self.poll_for_touch(&apdu)?, challenge, application)
    }

    /// U2F_AUTHENTICATE, asked for again until there is a touch; the answer is verified.
    pub fn u2f_authenticate(
        &self,
        control: u8,
        challenge: &[u8; 32],
        application: &[u8; 32],
        key_handle: &[u8],
        public_key: &PublicKey,
    ) -> Result<Authentication> {
        let apdu = ctap1::extended(
            ctap1::AUTHENTICATE,
            control,
            &[&challenge[..], application, &[key_handle.len() as u8], key_handle].concat(),
        );
        let answer = if control == ctap1::ENFORCE { self.poll_for_touch(&apdu)? } else { self.apdu(&apdu)? };
        Authentication::parse(&answer, challenge, application, public_key)
    }

    fn poll_for_touch(&self, apdu: &[u8]) -> Result<Vec<u8>> {
        for _ in 0..100 {
            match self.apdu(apdu) {
                Err(Error::StatusWord(ctap1::CONDITIONS_NOT_SATISFIED)) => {
                    // The pace of libfido2.
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                answer => return answer,
            }
        }
        Err(Error::TimedOut)
    }
}
