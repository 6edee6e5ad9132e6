//! The user: touches, fingers, and what proves that it was they (CTAP 2.3 §6.1.2, §6.2.2, §6.5.3).

use ctap_types::ctap2::Error;

use crate::authenticator::Authenticator;
use crate::pin::{MAX_UV_RETRIES, Permissions, Protocol, Token};
use crate::platform::{Operation, Platform, Presence, Prompt, Scan, UserPresence};

/// How long a command waits for the user, in milliseconds.
pub(crate) const USER_TIMEOUT_MS: u32 = 30_000;

/// A platform lets the user try a finger so often before it asks for the PIN: getInfo's
/// preferredPlatformUvAttempts, and how often the key itself tries where the platform does not.
pub(crate) const UV_ATTEMPTS: u8 = 3;

/// A relying party: its ID and the hash of it.
pub(crate) type Rp<'a> = (&'a str, &'a [u8; 32]);

/// What is known of the user when a request has been checked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) verified: bool,
    /// No touch is needed any more.
    pub(crate) present: bool,
}

/// How a request wants the user to be verified.
#[derive(Clone, Copy)]
pub(crate) struct Verification<'a> {
    pub(crate) param: Option<&'a [u8]>,
    pub(crate) protocol: Option<u64>,
    /// The option `uv`.
    pub(crate) uv: Option<bool>,
}

impl<P: Platform> Authenticator<'_, P> {
    /// Asks for a touch and waits for it.
    ///
    /// Errors: `OPERATION_DENIED`, `USER_ACTION_TIMEOUT` after 30 s, `KEEPALIVE_CANCEL`.
    pub(crate) fn confirm(
        &mut self,
        operation: Operation,
        rp: Option<Rp<'_>>,
        user: Option<&str>,
    ) -> Result<(), Error> {
        let long_touch = operation == Operation::Reset && self.store.state().long_touch_for_reset;
        let prompt = Prompt { long_touch, ..prompt(operation, rp, user) };
        match self.platform.user().wait(&prompt, USER_TIMEOUT_MS) {
            Presence::Granted => Ok(()),
            Presence::Denied => Err(Error::OperationDenied),
            Presence::TimedOut => Err(Error::UserActionTimeout),
            Presence::Cancelled => Err(Error::KeepaliveCancel),
        }
    }

    /// Lets the user choose a key: what a platform means by an empty `pinUvAuthParam` (CTAP 2.3 §6.1.2 step 1,
    /// §6.2.2 step 1).
    ///
    /// Errors: always one. After a touch it says whether there is a PIN or a finger: `PIN_INVALID` or
    /// `PIN_NOT_SET`.
    pub(crate) fn choose(&mut self, operation: Operation, rp: Rp<'_>) -> Result<(), Error> {
        self.confirm(operation, Some(rp), None)?;
        Err(if self.is_protected() { Error::PinInvalid } else { Error::PinNotSet })
    }

    /// Is the key protected by some form of user verification: a PIN, or a finger?
    pub(crate) fn is_protected(&mut self) -> bool {
        self.store.state().pin.is_some() || self.built_in_uv_is_set()
    }

    /// Is there a sensor, and a finger that it knows?
    pub(crate) fn built_in_uv_is_set(&mut self) -> bool {
        self.platform.verification().is_some() && self.store.fingers() > 0
    }

    /// Is the key to verify the user itself, by its sensor? `always` says that alwaysUv counts for this request.
    ///
    /// Errors: `INVALID_OPTION` for `uv` on a key that cannot; `PUAT_REQUIRED` if alwaysUv asks for what the key
    /// cannot do itself.
    pub(crate) fn wants_built_in_uv(
        &mut self,
        wanted: Verification<'_>,
        always: bool,
    ) -> Result<bool, Error> {
        if wanted.param.is_some() {
            return Ok(false);
        }
        let is_set = self.built_in_uv_is_set();
        if wanted.uv == Some(true) && !is_set {
            return Err(Error::InvalidOption);
        }
        if always && self.store.state().always_uv {
            return if is_set { Ok(true) } else { Err(Error::PinRequired) };
        }
        Ok(wanted.uv == Some(true))
    }

    /// Verifies the user: by the sensor, by a `pinUvAuthParam` over the client data hash, or not at all.
    ///
    /// Errors: `MISSING_PARAMETER` without a protocol, `INVALID_PARAMETER` for an unknown one,
    /// `PIN_AUTH_INVALID` unless a token for this permission and this site made the parameter; by the sensor
    /// those of the touch, and `PUAT_REQUIRED` or `OPERATION_DENIED` for a finger that is not known.
    pub(crate) fn verify_user(
        &mut self,
        wanted: Verification<'_>,
        built_in: bool,
        client_data_hash: &[u8; 32],
        permission: Permissions,
        operation: Operation,
        rp: Rp<'_>,
    ) -> Result<Evidence, Error> {
        if built_in {
            self.scan_until_known(operation, rp)?;
            return Ok(Evidence { verified: true, present: true });
        }
        if wanted.param.is_none() {
            return Ok(Evidence::default());
        }
        let now_ms = self.now_ms();
        let token = self.authorize(wanted.param, wanted.protocol, &[client_data_hash], permission)?;
        token.bind(rp.1)?;
        Ok(Evidence { verified: true, present: token.user_present(now_ms) })
    }

    /// performBuiltInUv with retries of the key's own (§6.5.3.1).
    fn scan_until_known(&mut self, operation: Operation, rp: Rp<'_>) -> Result<(), Error> {
        let mut outcome = Err(Error::UvInvalid);
        for _ in 0..UV_ATTEMPTS {
            outcome = self.scan(operation, Some(rp));
            if outcome != Err(Error::UvInvalid) {
                break;
            }
        }
        outcome.map_err(|error| match error {
            Error::UvInvalid | Error::UvBlocked if self.store.state().pin.is_some() => Error::PinRequired,
            Error::UvInvalid | Error::UvBlocked => Error::OperationDenied,
            other => other,
        })
    }

    /// Asks for a finger once. The try is counted in flash before the finger is compared.
    ///
    /// Errors: `UV_BLOCKED`, `UV_INVALID`, and those of a touch.
    pub(crate) fn scan(&mut self, operation: Operation, rp: Option<Rp<'_>>) -> Result<(), Error> {
        if self.store.state().uv_retries == 0 {
            return Err(Error::UvBlocked);
        }
        let sensor = self.platform.verification().ok_or(Error::UnsupportedOption)?;
        let print = match sensor.scan(&prompt(operation, rp, None), USER_TIMEOUT_MS) {
            Scan::Finger(print) => Some(print),
            Scan::Poor(_) => None,
            Scan::Denied => return Err(Error::OperationDenied),
            Scan::TimedOut => return Err(Error::UserActionTimeout),
            Scan::Cancelled => return Err(Error::KeepaliveCancel),
        };
        self.store.change_state(|state| {
            state.uv_retries -= 1;
            state.uv_count = state.uv_count.saturating_add(1);
        })?;
        let templates = self.store.templates()?;
        // All are compared, so that time does not tell which one it was.
        let known = |print| templates.iter().fold(false, |known, template| known | template.matches(&print));
        if print.is_some_and(known) {
            self.store.change_state(|state| state.uv_retries = MAX_UV_RETRIES)?;
            return Ok(());
        }
        Err(if self.store.state().uv_retries == 0 { Error::UvBlocked } else { Error::UvInvalid })
    }

    /// Checks a `pinUvAuthParam` over `message`, and gives the token that made it.
    ///
    /// Errors: `PUAT_REQUIRED` without one, and as in [`Self::verify_user`].
    pub(crate) fn authorize(
        &mut self,
        param: Option<&[u8]>,
        protocol: Option<u64>,
        message: &[&[u8]],
        permission: Permissions,
    ) -> Result<&mut Token, Error> {
        let param = param.ok_or(Error::PinRequired)?;
        let protocol = Protocol::parse(protocol.ok_or(Error::MissingParameter)?)?;
        let token = self.token().ok_or(Error::PinAuthInvalid)?;
        token.authorize(protocol, param, message, permission)?;
        Ok(token)
    }

    /// The token in use, if its time has not come.
    pub(crate) fn token(&mut self) -> Option<&mut Token> {
        let now_ms = self.now_ms();
        self.pin.token.take_if(|token| token.expired(now_ms));
        self.pin.token.as_mut()
    }

    /// Ends what a token is good for, once it has made a credential or an assertion with a touch.
    pub(crate) fn spend_token(&mut self) {
        if let Some(token) = &mut self.pin.token {
            token.spend();
        }
    }
}

fn prompt<'a>(operation: Operation, rp: Option<Rp<'a>>, user: Option<&'a str>) -> Prompt<'a> {
    Prompt {
        operation,
        rp_id: rp.map(|(id, _)| id),
        rp_id_hash: rp.map(|(_, hash)| hash),
        user,
        long_touch: false,
    }
}
