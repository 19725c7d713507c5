"""Which lines hold against which attack. Each group, taken out together, has to let the attack through.

A group of several lines is defence in depth: with any one of them left, another one refuses. docs/attacks.md shows the
table; `test_defences.py` takes each group out in turn.
"""

from __future__ import annotations

from tests.attacks.defence import Line

Group = tuple[Line, ...]


def written(groups: list[Group]) -> str:
    """As docs/attacks.md writes them."""
    return "<br>".join(" with ".join(f"`{line.file}` `{line.text}`" for line in group) for group in groups)


CHECK = "evidence_store/sealing/check.py"
TICK = "evidence_store/sealing/tick.py"
INTAKE = "evidence_store/intake.py"
WITNESS = "evidence_store/ledger/witness.py"
WITNESSED = "evidence_store/copies/witnessed.py"
WITNESSING = "evidence_store/ledger/witnessing.py"
S3 = "evidence_store/vault/s3.py"
CANARY = "evidence_store/vault/canary.py"
NOT_LOCKED = Line(S3, "if not _locked(found, until):")
STAMP = "evidence_store/stamps/stamp.py"
STAMP_AUDIT = "evidence_store/stamps/audit.py"
KNOWN_CAMERAS = "recorder/known_cameras.py"
VERIFY = "evidence_store/copies/verify.py"
RETENTION = "evidence_store/retention.py"
OTHER_ROOT = Line(VERIFY, 'if re.sub(r"[^0-9a-f]", "", given.lower()) != found:')
SIGNED_TICK = Line(CHECK, "journal.check_tick_signature(take_certificate, following, tick.signature)")
CLOSE_AGREES = Line(CHECK, "if record[name] != value:")

DEFENCES: dict[int, list[Group]] = {
    1: [(Line("evidence_store/vault/disk.py", "if sha256 is not None and hashlib.sha256(data).digest() != sha256:"),)],
    2: [
        (
            Line(CHECK, "if header.index != self.index + 1:"),
            Line(CHECK, "if header.first_tick != self.tick + 1 or header.head != self.head:"),
            Line(CHECK, 'if (tick.record["i"], tick.record["t"]) != (segment_index, number):'),
            SIGNED_TICK,
            CLOSE_AGREES,
            Line("evidence_store/audit.py", 'if {kept.name for kept in self._book.vault.list(f"{prefix}/")} != own:'),
        )
    ],
    3: [
        (Line(TICK, "self.start_hash,", ""),),
        (Line(TICK, 'self.segment.to_bytes(8, "big"),', ""),),
        (Line(TICK, 'self.tick.to_bytes(8, "big"),', ""),),
        (Line(TICK, 'self.kind.to_bytes(1, "big"),', ""),),
        (Line(TICK, 'self.track.to_bytes(2, "big"),', ""),),
        (Line(TICK, 'self.epoch.to_bytes(4, "big"),', ""),),
    ],
    4: [(CLOSE_AGREES,)],
    5: [(Line("evidence_store/sealing/segment.py", "if len(view) - offset < size:"), SIGNED_TICK)],
    6: [(Line(TICK, 'if commitment(salt_of(keys.salting, place), data).hex() != entry["commitment"]:'),)],
    7: [
        (
            Line(
                CHECK,
                "certs.check_signature(certificate, domains.START_SIGNATURE, digest, journal.unb64(signatures[who]))",
            ),
        )
    ],
    8: [(Line("evidence_store/ledger/custody_log.py", "if not same:"),)],
    9: [
        (
            Line(
                WITNESS,
                "merkle.verify_consistency(held.size, checkpoint.size, request.proof, held.root, checkpoint.root)",
            ),
        )
    ],
    10: [
        (
            Line("evidence_store/ledger/ledger.py", "if seen.size > self._head(session).size:"),
            Line("evidence_store/ledger/ledger.py", "if self._root_at(session, seen.size) != seen.root:"),
        )
    ],
    11: [
        (Line(WITNESSED, "if missing:"),),
        (Line(WITNESS, "if checkpoint.root != held.root:"),),
    ],
    12: [
        (
            Line(
                S3,
                "found = self.client.get_object(Bucket=self.bucket.name, Key=name, VersionId=first.id, **asked)",
                "found = self.client.get_object(Bucket=self.bucket.name, Key=name, **asked)",
            ),
        ),
        (
            Line(S3, '"ObjectLockMode": MODE,', ""),
            Line(S3, '"ObjectLockRetainUntilDate": until,', ""),
            NOT_LOCKED,
        ),
    ],
    13: [(Line(CANARY, "if through:"),)],
    14: [
        (NOT_LOCKED,),
        (Line(CANARY, "if not victim.unharmed():"), Line(CANARY, "if through:")),
    ],
    15: [
        (
            Line("evidence_store/kept.py", "if known is not None and known.sha256 != stored.sha256:"),
            Line("evidence_store/vault/disk.py", "if self._sha256(path) != stored.sha256:"),
            Line("evidence_store/holdings.py", "if known is not None and known.sha256 != stored.sha256:"),
        ),
        (
            Line(S3, "if first.size != stored.size or not self._is(stored, first):"),
            Line(S3, "if checksum != base64.b64encode(sha256).decode():"),
        ),
    ],
    16: [
        (
            Line(
                TICK,
                "ciphertext[at:] = encryptor.finalize()",
                "ciphertext[at:] = (message.data + bytes(len(ciphertext)))[: len(ciphertext) - at]",
            ),
        ),
        (Line(INTAKE, "if device.revoked_at is not None:"),),
        (
            Line(
                "evidence_store/sealed.py",
                "summaries = [replace(each, doubtful=_doubtful(each, revoked)) for each in summaries]"
                " if revoked else summaries",
            ),
        ),
    ],
    17: [
        (Line("evidence_store/sealing/ratchet.py", "self._secret[:] = memoryview(derived)[2 * KEY_SIZE :]"),),
        (Line("recorder/sealer.py", "self._keys.pop(ended.segment).forget()"),),
    ],
    18: [
        (
            Line(
                STAMP,
                'return [*found, "claim"] if claim is not None and claim - time > tolerance else found',
                "return found",
            ),
        ),
        (Line(STAMP_AUDIT, "if claim is not None and claim - stamp.time > self._tolerance:"),),
        (
            Line(
                STAMP,
                'found = ["store-clock"] if abs(ahead) > tolerance else []',
                "found: list[str] = []",
            ),
        ),
    ],
    19: [
        (Line(STAMP, "signed_data.check(signer, certificate, TST_INFO, token.info)"),),
        (Line(STAMP, "if nonce is not None and token.nonce != nonce:"),),
        (Line(STAMP, "check_signer(certificate)"),),
    ],
    20: [
        (
            Line(
                "evidence_store/stamps/keeper.py",
                "late = count > 0 and now - since > self._rules.late_after",
                "late = False",
            ),
        )
    ],
    21: [
        (Line(STAMP_AUDIT, "if max(stamp.ends for stamp in stamps) < self._now:"),),
        (Line("evidence_store/stamps/keeper.py", "self._want_renewals(now)"),),
    ],
    22: [
        (Line("recorder/recovery.py", "if whole < len(data) or not data:"),),
        (
            Line(
                "evidence_store/sealed.py",
                "yield Gap(take.n, None, how, begins,"
                " next((_began(after) for after, _, _ in stretches[at + 1 :]), None))",
            ),
        ),
    ],
    23: [
        (Line("recorder/node.py", "found.append(self._disk_trouble)"),),
        (Line("recorder/node.py", "found.append(self.delivery.state.trouble)"),),
        (Line("recorder/cutter.py", "events = self.refused.declaration() + events"),),
    ],
    24: [
        (Line("recorder/feed_server.py", "if len(self._clients()) >= _MOST_MONITORS:"),),
        (Line("recorder/feed_server.py", "monitor.setblocking(False)", "monitor.settimeout(0.01)"),),
        (Line("api/routes/carry.py", "if len(data) > limit:"),),
        (
            Line("recorder/whip.py", "if len(body) > LIMIT:"),
            Line("recorder/sdp.py", "if len(body) > LIMIT:"),
        ),
    ],
    25: [
        (Line("api/identity/permissions.py", "if not permitted(account.role, self.permission):"),),
        (
            Line(
                "api/identity/permissions.py",
                "await run_in_threadpool(services.custody.denied, account, self.permission, now)",
            ),
        ),
        (Line("api/routes/dependencies.py", "if not least <= len(text) <= greatest:"),),
    ],
    26: [
        (
            Line(VERIFY, 'check_cms(read(self._bag, path), read(self._bag, f"{path}.p7s"), store, root)'),
            Line(
                VERIFY,
                "certs.check_signature(ml_dsa, COPY_SIGNATURE, tags,"
                ' read(self._bag, "tagmanifest-sha256.txt.mldsa65"))',
            ),
        )
    ],
    27: [
        (
            Line(
                "evidence_store/copies/graph.py",
                'return _write(picture, f"{MARK} · {look.copy_id}", look, fontsize=18, x=18, y="h-text_h-18")',
                "return picture",
            ),
        ),
        (
            Line(
                "api/desk/copies.py",
                "entry.record(self._event(Verb.COPY_REQUESTED, now, actor_of(by), row, copy, details, reason))",
            ),
        ),
    ],
    28: [
        (Line(RETENTION, "if standing.holds:"),),
        (Line(RETENTION, "if now < keep_until(standing.ended_at, days):"),),
        (Line(RETENTION, "if standing.requested_by == by:"),),
        (
            Line(
                "evidence_store/erasure.py",
                "wrap.wrapped_seed, wrap.erased_at, asked.done_at = None, now, now",
                "wrap.erased_at, asked.done_at = now, now",
            ),
        ),
        (Line("evidence_store/erasure.py", "self._keys.erase_escrow(interview)"),),
    ],
    29: [(Line("evidence_store/rotation.py", "count = self._verify(current)", "count = 0"),)],
    30: [
        (
            Line(
                "evidence_store/erasure.py",
                "entry.record(_event(Verb.ERASURE_APPROVED, now, by, row, asked.reason, details))",
            ),
        ),
        (Line("evidence_store/erasure.py", "left = _left(session, ErasureRow.done_at)", "left: list[str] = []"),),
    ],
    31: [(Line(INTAKE, "device.n_highest = max(device.n_highest, number)"),)],
    32: [(Line(WITNESSED, "if start.utc_ns < (max(times) - CLOCKS_DIFFER) * 10**9:"),)],
    33: [
        (Line(KNOWN_CAMERAS, "if found.address != known.address:"),),
        (Line(KNOWN_CAMERAS, "if camera in self._keeping and found.fingerprint != known.fingerprint:"),),
        (Line("recorder/node.py", "if self._known.strangers:"),),
        (
            Line(
                "recorder/cameras.py",
                "for event in self.known.connected(connection, time.time_ns()):",
                "for event in self.known.connected(connection, time.time_ns())[:0]:",
            ),
        ),
        (
            Line(
                "evidence_store/deliveries.py",
                'elif event["type"] == "camera" and event.get("act") in _CAMERA_ACTS:',
            ),
        ),
    ],
    34: [
        (
            Line(INTAKE, 'if row.state != "open" and not known:'),
            Line(INTAKE, 'if self._take(entry.session, enrolment, take).state != "open":'),
        ),
        (Line(CHECK, "if chain.durable_prefix(tail) or chain.continues_with(tail):"),),
    ],
    35: [
        (Line(WITNESSING, "if each.late and each.member.id not in late:"),),
        (Line(WITNESSING, "if session.scalars(said_no.limit(1)).first() is not None:"),),
    ],
    36: [
        (
            Line(
                "recorder/delivery.py",
                "except (httpx.HTTPError, _AnswerError) as error:",
                "except ZeroDivisionError as error:",
            ),
        ),
        (Line("recorder/cameras.py", "self._tell(viewer_event(presence))"),),
    ],
    37: [
        (
            Line(
                TICK,
                "return domains.sha256(domains.COMMITMENT, salt, data)",
                "return domains.sha256(domains.COMMITMENT, data)",
            ),
        )
    ],
    38: [(OTHER_ROOT,), (Line(VERIFY, "if given is None:"), OTHER_ROOT)],
}
