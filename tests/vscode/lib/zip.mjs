// What is in a zip file, read from its central directory.
import { inflateRawSync } from "node:zlib";

const END = 0x06054b50;
const ENTRY = 0x02014b50;

/** @returns {Map<string, { mode: number, content: () => Buffer }>} by name */
export function entries(zip) {
    let at = zip.length - 22;
    while (at >= 0 && zip.readUInt32LE(at) !== END) {
        at -= 1;
    }
    if (at < 0) {
        throw new Error("it is no zip file");
    }
    const found = new Map();
    let place = zip.readUInt32LE(at + 16);
    for (let left = zip.readUInt16LE(at + 10); left > 0; left -= 1) {
        if (zip.readUInt32LE(place) !== ENTRY) {
            throw new Error(`no entry at ${place}`);
        }
        const [name, extra, comment] = [28, 30, 32].map((field) => zip.readUInt16LE(place + field));
        const [method, size, start] = [
            zip.readUInt16LE(place + 10),
            zip.readUInt32LE(place + 20),
            zip.readUInt32LE(place + 42),
        ];
        const content = () => {
            const from = start + 30 + zip.readUInt16LE(start + 26) + zip.readUInt16LE(start + 28);
            const packed = zip.subarray(from, from + size);
            return method === 0 ? packed : inflateRawSync(packed);
        };
        found.set(zip.toString("utf8", place + 46, place + 46 + name), {
            mode: zip.readUInt32LE(place + 38) >>> 16,
            content,
        });
        place += 46 + name + extra + comment;
    }
    return found;
}
