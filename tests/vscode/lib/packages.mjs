// A package that neither the host nor the workspace has: only the container.

/** Where the lab's Python image keeps the packages of its system. */
export const PACKAGES = "/usr/lib/python3/dist-packages";

/** The Dockerfile of an image with the package `name`, in which `only_inside` is. */
export function imageWith(name) {
    const module = "def only_inside(width: int) -> int:\\n    return width\\n";
    const folder = `${PACKAGES}/${name}`;
    return `FROM gpubay-lab/python\nRUN mkdir ${folder} && printf '${module}' >${folder}/__init__.py\n`;
}
