#!/bin/sh
# Kontrollerer en beviskopi med openssl, sha256sum og en afspiller; intet fra Vidne skal bruges.
# Checks an evidence copy with openssl, sha256sum and a player; nothing of Vidne's is needed.
#
#   sh verify.sh FINGERPRINT [FOLDER]
#
# FINGERPRINT  SHA-256 of the root certificate, from the store, by another way than this package
# FOLDER       the unpacked package; without it the folder of this script
# FFPROBE      (environment) an ffprobe or ffmpeg to read the films with
# AUTHORITIES  (environment) SHA-256 of the certificates of time stamp authorities, known from elsewhere
#
# Exit: 0 all held, 1 something failed, 2 cannot be run, 3 all held but nobody said who should have signed.

LC_ALL=C
export LC_ALL
unset CDPATH
given=$(printf '%s' "${1:-}" | tr 'A-F' 'a-f' | tr -d ': \n')
folder=${2:-$(dirname -- "$0")}
failed=0
most=10

ok() { printf 'OK    %s | %s\n' "$1" "$2"; }
fail() { printf 'FEJL  %s | %s\n' "$1" "$2"; failed=1; }

for tool in openssl sha256sum awk find sort head tail mktemp; do
    command -v "$tool" >/dev/null || { fail "mangler programmet $tool" "the program $tool is missing"; exit 2; }
done
if [ -n "$given" ] && ! printf '%s' "$given" | grep -Eq '^[0-9a-f]{64}$'; then
    fail "fingeraftrykket er ikke 64 hexadecimale cifre" "the fingerprint is not 64 hexadecimal digits"
    exit 2
fi
cd -- "$folder" && [ -f bagit.txt ] || { fail "ikke en beviskopi: bagit.txt mangler" "no evidence copy: bagit.txt is missing"; exit 2; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM

# 1. Who. Only the first certificate of a file counts: a second one beside it would be trusted too.
for name in root store; do
    openssl x509 -in "evidence/certificates/$name.pem" -out "$work/$name.pem" 2>/dev/null ||
        fail "certifikatet $name kan ikke læses" "certificate $name cannot be read"
done
root=$(openssl x509 -in "$work/root.pem" -outform DER 2>/dev/null | sha256sum | cut -d ' ' -f 1)
if [ -z "$given" ]; then
    printf 'FEJL  %s | %s\n' "intet fingeraftryk udefra: det kan ikke siges, hvem der har underskrevet" \
        "no fingerprint from outside: it cannot be said who signed"
    printf '      %s | %s\n' "pakken påstår selv $root" "the package itself claims $root"
elif [ "$given" = "$root" ]; then
    ok "rodcertifikatet er det opgivne" "the root certificate is the one given"
else
    fail "rodcertifikatet er et andet: $root" "the root certificate is another one"
fi
if openssl verify -no-CApath -no-CAstore -no_check_time -CAfile "$work/root.pem" "$work/store.pem" >/dev/null 2>&1 &&
    [ "$(openssl x509 -in "$work/store.pem" -noout -subject -nameopt RFC2253)" = "subject=CN=Vidne store" ]; then
    ok "lagerets certifikat er udstedt af roden" "the store's certificate is issued by the root"
else
    fail "lagerets certifikat er ikke udstedt af roden" "the store's certificate is not issued by the root"
fi

# 2. Signatures. -nointern: the signer is store.pem and no other, whatever certificates the signature brings.
for file in tagmanifest-sha256.txt evidence/manifest.json evidence/ranges.txt; do
    if openssl cms -verify -binary -inform DER -in "$file.p7s" -content "$file" -nointern -certfile "$work/store.pem" \
        -CAfile "$work/root.pem" -no-CApath -no-CAstore -purpose any -no_check_time -out /dev/null 2>/dev/null; then
        ok "underskrift på $file" "signature on $file"
    else
        fail "underskriften på $file holder ikke" "the signature on $file does not hold"
    fi
done

# 3. Nothing missing, nothing too many.
find . ! -type f ! -type d -print > "$work/strange"
find . -type f -print | sed 's|^\./||' | sort > "$work/present"
{
    cat manifest-sha256.txt tagmanifest-sha256.txt | cut -c 67-
    printf '%s\n' tagmanifest-sha256.txt tagmanifest-sha256.txt.p7s tagmanifest-sha256.txt.mldsa65
} | sort > "$work/listed"
if [ -s "$work/strange" ] || ! cmp -s "$work/present" "$work/listed"; then
    fail "filerne er ikke pakkens" "the files are not the package's"
    { cat "$work/strange"; diff "$work/listed" "$work/present" | grep '^[<>]'; } | head -n "$most" |
        sed 's/^< /      mangler | missing: /; s/^> /      for meget | too many: /'
else
    ok "$(wc -l < "$work/present" | tr -d ' ') filer, ingen mangler, ingen for meget" "files, none missing, none too many"
fi

# 4. Every file as it was. A wrong film is traced to track and second by the signed list of ranges.
trace() {
    awk -v file="$1" '$10 == file { print $1, $2, $3, $6, $7, $8 }' evidence/ranges.txt > "$work/ranges"
    found=0
    end=0
    while read -r sum offset length second utc track; do
        end=$((offset + length))
        actual=$(tail -c "+$((offset + 1))" "$1" 2>/dev/null | head -c "$length" | sha256sum | cut -d ' ' -f 1)
        [ "$actual" = "$sum" ] && continue
        found=$((found + 1))
        [ "$found" -gt "$most" ] && { printf '      ... | and more\n'; return; }
        fail "$1: spor $track, sekund $second, $utc er ændret" "track $track, second $second is altered"
    done < "$work/ranges"
    size=$(wc -c < "$1" | tr -d ' ')
    [ -s "$work/ranges" ] && [ "$size" != "$end" ] &&
        fail "$1: $size byte i stedet for $end" "$size bytes instead of $end"
    return 0
}
for list in tagmanifest-sha256.txt manifest-sha256.txt; do
    if sha256sum -c --strict "$list" > "$work/sums" 2>/dev/null; then
        ok "$(wc -l < "$work/sums" | tr -d ' ') filers SHA-256 efter $list" "files have the SHA-256 of $list"
    else
        fail "filer er ændret, se $list" "files are altered, see $list"
        sed -n 's/: FAILED.*$//p' "$work/sums" > "$work/altered"
        while read -r file; do
            fail "$file er ændret" "$file is altered"
            case $file in data/original/*) [ -f "$file" ] && trace "$file" ;; esac
        done < "$work/altered"
    fi
done

# 5. A player reads every film from end to end: of what was recorded the file, not the pictures. One of which packets
# were lost is there as what came of it, and declared; a decoder may find fault with it.
player=${FFPROBE:-$(command -v ffprobe || command -v ffmpeg)}
if [ -z "$player" ]; then
    printf 'IKKE  %s | %s\n' "ingen afspiller fundet; filmene er ikke prøvet" "no player found; the films were not tried"
else
    for film in data/original/*.mp4 data/viewing/*.mp4 data/viewing/*.webm; do
        [ -f "$film" ] || continue
        case $film in
        data/viewing/visningskopi.mp4) alone= ;;
        *) alone='-nofind_stream_info -fflags +nofillin+noparse' ;;
        esac
        case ${player##*/} in
        *ffprobe*)
            "$player" -v error $alone -count_packets -show_entries stream=nb_read_packets "file:$film" ;;
        *)
            "$player" -nostdin -v error $alone -i "file:$film" -map 0 -c copy -f null - ;;
        esac > /dev/null 2> "$work/player"
        if [ $? -eq 0 ] && [ ! -s "$work/player" ]; then
            ok "$film læses til ende" "$film is read to its end"
        else
            fail "$film kan ikke læses til ende" "$film is not read to its end: $(head -n 1 "$work/player")"
        fi
    done
fi

# 6. Outside time. Each stamp as of the time it names: certificates run out, what they signed then stays.
unsaid() { printf 'IKKE  %s | %s\n' "$1" "$2"; }
holds() { # $1: bytes, $2: stamp, $3: authority, $4: seconds since 1970
    openssl ts -verify -data "$1" -in "$2" -CAfile "$work/$3.anchor" -untrusted "evidence/stamps/authorities/$3.pem" \
        -attime "$4" >/dev/null 2>&1
}
seconds() { # genTime of a stamp, since 1970
    when=$(openssl ts -reply -in "$1" -text 2>/dev/null | sed -n 's/^Time stamp: //p')
    [ -n "$when" ] && date -u -d "$when" +%s 2>/dev/null
}
believed=$(printf '%s' "${AUTHORITIES:-}" | tr 'A-F,\n' 'a-f  ' | tr -d ':')
if [ ! -d evidence/stamps ]; then
    unsaid "ingen tidsstempler: alle tider er optagerens og lagerets egne" \
        "no time stamps: all times are the recorder's and the store's own"
    [ -z "$believed" ] || fail "ingen tidsstempler fra de opgivne" "no time stamps by those that were given"
else
    named=0
    for file in evidence/stamps/authorities/*.pem; do
        authority=$(basename "$file" .pem)
        openssl x509 -in "$file" -out "$work/$authority.anchor" 2>/dev/null
        if [ "$(openssl x509 -in "$file" -outform DER 2>/dev/null | sha256sum | cut -d ' ' -f 1)" != "$authority" ]; then
            fail "tidsstemplingstjenestens certifikat er et andet: $authority" "the time authority's certificate is another one"
            continue
        fi
        name=$(openssl x509 -in "$file" -noout -subject -nameopt RFC2253 | cut -c 9-)
        case " $believed " in
        *" $authority "*)
            named=1
            ok "tidsstemplingstjenesten er den opgivne: $name" "the time authority is the one given" ;;
        *)
            unsaid "tidsstemplingstjenesten er ikke opgivet udefra: $name, $authority" \
                "the time authority was not given from outside: whose clock it is, is not known" ;;
        esac
    done
    [ -z "$believed" ] || [ "$named" -eq 1 ] ||
        fail "ingen tidsstempler fra de opgivne" "no time stamps by those that were given"
    tail -n +2 evidence/stamps/stamps.txt > "$work/stamps" 2>/dev/null
    minutes=0
    last=
    while read -r stamp about previous authority; do
        at=$(seconds "$stamp")
        if [ "$previous" = - ]; then
            cp "$about" "$work/bytes"
        elif [ "$previous" != "$last" ] || ! holds "$work/bytes" "$last" "$last_authority" "$at"; then
            # Also where the certificate before had run out already when this one was made.
            fail "$stamp fornyer intet" "$stamp renews nothing"
            continue
        else
            printf '{"about":"%s","previous":"%s","type":"vidne/stamp-renewal/1"}' \
                "$(sha256sum < "$about" | cut -d ' ' -f 1)" "$(openssl base64 -A -in "$previous")" > "$work/bytes"
        fi
        last=$stamp
        last_authority=$authority
        if [ -z "$at" ] || ! holds "$work/bytes" "$stamp" "$authority" "$at"; then
            fail "tidsstemplet $stamp holder ikke" "the time stamp $stamp does not hold"
            continue
        fi
        case $about in
        evidence/stamps/*) minutes=$((minutes + 1)) ;;
        *) ok "$about fandtes $(date -u -d "@$at" +%Y-%m-%dT%H:%M:%SZ)" "existed then" ;;
        esac
    done < "$work/stamps"
    for stamp in evidence/stamps/before-*.tsr; do
        [ -f "$stamp" ] || continue
        authority=$(sed -n 's/.*"authority":"\([0-9a-f]*\)".*/\1/p' "${stamp%.tsr}.json")
        at=$(seconds "$stamp")
        if [ -n "$at" ] && holds "${stamp%.tsr}.txt" "$stamp" "$authority" "$at"; then
            ok "beviskæden før optagelsen fandtes $(date -u -d "@$at" +%Y-%m-%dT%H:%M:%SZ)" "the ledger before the take existed then"
        else
            fail "tidsstemplet $stamp holder ikke" "the time stamp $stamp does not hold"
        fi
    done
    ok "$minutes tidsstempler på minutter af optagelsen holder" "time stamps on minutes of the recording hold"
fi

if [ "$failed" -ne 0 ]; then
    printf '\nFEJL  %s | %s\n' "kopien holder ikke" "the copy does not hold"
    exit 1
fi
if [ -z "$given" ]; then
    printf '\nFEJL  %s | %s\n' "alt hænger sammen, men hvem der har underskrevet, er ikke vist" \
        "all of it agrees, but who signed it is not shown"
    exit 3
fi
printf '\nOK    %s | %s\n' "kopien holder" "the copy holds"
