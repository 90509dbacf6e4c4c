"""Canaries: patient data and secrets that are in what the tests send and mount, and must be in nothing that we write (R21).

Every process fixture looks for them at its end, in all that its process has logged and served: the check covers the whole suite.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

PATIENT: Mapping[str, str] = {
    "PatientName": "Test^Image",
    "PatientID": "CANARY-PID-7731",
    "IssuerOfPatientID": "Canary Issuer Hospital",
    "PatientBirthDate": "19010203",
    "PatientBirthName": "Canary^Birthname",
    "PatientMotherBirthName": "Canary^Mother",
    "OtherPatientIDs": "CANARY-OPID-4402",
    "OtherPatientNames": "Canary^Othername",
    "PatientAddress": "13 Canary Row, Yellowtown",
    "PatientTelephoneNumbers": "+00 555 CANARY",
    "PatientReligiousPreference": "canary-religion",
    "EthnicGroup": "canary-ethnic",
    "Occupation": "canary breeder",
    "MilitaryRank": "canary-rank",
    "BranchOfService": "canary-branch",
    "CountryOfResidence": "Canaria",
    "RegionOfResidence": "Canary Region",
    "MedicalAlerts": "canary-alert",
    "Allergies": "canary-feathers",
    "AdditionalPatientHistory": "canary history of coughing",
    "PatientComments": "canary comment on the patient",
    "ResponsiblePerson": "Canary^Guardian",
    "AccessionNumber": "CANARY-ACC-91",
    "StudyID": "CANARY-STU-92",
    "StudyDescription": "canary study of the chest",
    "SeriesDescription": "canary series with contrast",
    "ProtocolName": "canary protocol",
    "AdmittingDiagnosesDescription": "canary diagnosis",
    "ReasonForStudy": "canary reason",
    "RequestedProcedureDescription": "canary procedure",
    "ImageComments": "canary comment on the image",
    "ReferringPhysicianName": "Canary^Referrer",
    "PerformingPhysicianName": "Canary^Performer",
    "NameOfPhysiciansReadingStudy": "Canary^Reader",
    "OperatorsName": "Canary^Operator",
    "RequestingPhysician": "Canary^Requester",
    "InstitutionName": "Canary General Hospital",
    "InstitutionAddress": "1 Canary Square",
    "InstitutionalDepartmentName": "canary radiology",
    "DeviceSerialNumber": "CANARY-SN-5501",
}
"""By the keyword of the attribute that carries it in every image that tests make."""

SECRETS: Mapping[str, str] = {
    "a bearer token": "t0ps3cret",
    "a renewed bearer token": "rotated-token",
    "a user's name": "canary-user",
    "a password": "canary-p4ssw0rd",
    "user and password in an Authorization header": "Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXA0c3N3MHJk",
    "a Google access token": "ya29.c.",
    "the head of a signed JWT": "eyJ0eXAiOiAiSldUIiwgImFsZyI6",
    "another platform's token": "token-of-the-cluster",
    "a private key": "PRIVATE KEY-----",
    "an Authorization header": "Authorization",
}
"""By what it is; what tests mount as credentials, or what only a credential begins with."""

ALL = {**PATIENT, **SECRETS}


def found(text: str) -> list[str]:
    """Which canaries are in a text, as it is or as JSON writes it."""
    return [what for what, canary in ALL.items() if canary in text or json.dumps(canary)[1:-1] in text]


def scan(outputs: Mapping[str, str]) -> None:
    """Raises AssertionError when one of these outputs has a canary in it."""
    leaks = {where: leaked for where, text in outputs.items() if (leaked := found(text))}
    assert not leaks, f"patient data or secrets in what we write: {leaks}"
