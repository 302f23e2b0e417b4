//! The double of Zoho CRM.
