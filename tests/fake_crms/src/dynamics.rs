//! The double of Microsoft Dynamics 365 (Dataverse).
