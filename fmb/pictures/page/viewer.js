import * as THREE from "three";
import { OrbitControls } from "orbit-controls";

const FIELD_OF_VIEW = 35;
const data = JSON.parse(document.getElementById("scene").textContent);
const stage = document.getElementById("stage");
const root = document.documentElement;

function decoded(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

/** Ellipsoids, each a unit sphere under its own axes, as large as where it alone is half opaque. */
function components({ centre, axes, reach, color }) {
  const shape = new THREE.IcosahedronGeometry(1, 6);
  const group = new THREE.InstancedMesh(shape, new THREE.MeshStandardMaterial({ roughness: 0.62 }), reach.length);
  const matrix = new THREE.Matrix4();
  reach.forEach((size, number) => {
    const [x, y, z] = axes[number].map((row) => row.map((value) => value * size));
    const [a, b, c] = centre[number];
    matrix.set(...x, a, ...y, b, ...z, c, 0, 0, 0, 1);
    group.setMatrixAt(number, matrix);
    group.setColorAt(number, new THREE.Color().setRGB(...color[number], THREE.SRGBColorSpace));
  });
  group.frustumCulled = false;
  return group;
}

function surface({ vertices, faces, colors }, color, opacity) {
  const shape = new THREE.BufferGeometry();
  shape.setAttribute("position", new THREE.BufferAttribute(decoded(vertices, Float32Array), 3));
  shape.setIndex(new THREE.BufferAttribute(decoded(faces, Uint32Array), 1));
  if (colors) shape.setAttribute("color", new THREE.BufferAttribute(decoded(colors, Uint8Array), 3, true));
  shape.computeVertexNormals();
  const look = { color: colors ? 0xffffff : color, vertexColors: Boolean(colors), roughness: 0.75, side: THREE.DoubleSide };
  if (opacity < 1) Object.assign(look, { transparent: true, opacity, depthWrite: false });
  return new THREE.Mesh(shape, new THREE.MeshStandardMaterial(look));
}

/** A pyramid of lines for each camera, its mask on the base: tiles of one picture, row by row. */
function cameras({ position, corners, masks, columns, rows }) {
  const line = [], place = [], texture = [], index = [];
  position.forEach((apex, view) => {
    corners[view].forEach((corner, side) => {
      line.push(...apex, ...corner, ...corner, ...corners[view][(side + 1) % 4]);
      place.push(...corner);
      const right = side === 1 || side === 2, down = side > 1;
      texture.push((view % columns + right) / columns, (Math.floor(view / columns) + down) / rows);
    });
    index.push(...[0, 1, 2, 0, 2, 3].map((corner) => 4 * view + corner));
  });
  const group = new THREE.Group();
  const lines = new THREE.BufferGeometry().setAttribute("position", new THREE.Float32BufferAttribute(line, 3));
  group.add(new THREE.LineSegments(lines, new THREE.LineBasicMaterial({ color: 0x9fb2c6, transparent: true, opacity: 0.75 })));
  if (masks) {
    const base = new THREE.BufferGeometry();
    base.setAttribute("position", new THREE.Float32BufferAttribute(place, 3));
    base.setAttribute("uv", new THREE.Float32BufferAttribute(texture, 2));
    base.setIndex(index);
    const map = new THREE.TextureLoader().load(masks, draw);
    map.flipY = false;
    map.colorSpace = THREE.SRGBColorSpace;
    map.generateMipmaps = false;
    map.minFilter = THREE.LinearFilter;
    const look = { map, transparent: true, side: THREE.DoubleSide, depthWrite: false };
    group.add(new THREE.Mesh(base, new THREE.MeshBasicMaterial(look)));
  }
  return group;
}

const FIT = 0xe69f00, TRUTH = 0x56b4e9;
const TURN = Math.PI / 24, NEARER = 1.1;  // of one key
const parts = {};
let renderer, view, orbit, halves;  // what the slider parts: the fit and the reference, each in one colour
const scene = new THREE.Scene();
let due = false;

function draw() {
  if (due || !renderer) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    const turning = orbit.update();
    render();
    root.dataset.viewer = "ready";
    if (turning && orbit.autoRotate) draw();
  });
}

/** Part of the view, from the left, that shows the fit; 1 where there is no slider. */
function split() {
  const slider = document.querySelector("[name=split]");
  return slider ? Number(slider.value) / 100 : 1;
}

/** The view, or, parted by the slider, the fit to the left and the reference to the right, each in its colour. */
function render() {
  const part = split(), { clientWidth: width, clientHeight: height } = stage;
  const divider = document.getElementById("divider");
  divider.hidden = part >= 1;
  if (part >= 1) {
    renderer.setScissorTest(false);
    renderer.render(scene, view);
    return;
  }
  divider.style.left = `${100 * part}%`;
  const before = Object.entries(parts).map(([name, { visible }]) => [name, visible]);
  for (const name of Object.keys(parts)) parts[name].visible &&= name === "cameras";
  renderer.setScissorTest(true);
  [[0, part * width], [part * width, (1 - part) * width]].forEach(([left, wide], half) => {
    halves.forEach((shape, number) => { shape.visible = number === half; });
    renderer.setScissor(left, 0, wide, height);
    renderer.render(scene, view);
  });
  halves.forEach((shape) => { shape.visible = false; });
  before.forEach(([name, visible]) => { parts[name].visible = visible; });
  renderer.setScissorTest(false);
}

/** Arrow keys turn the view about the object, + and - bring it nearer and farther. */
function key(event) {
  const [around, over] = { ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, -TURN], ArrowDown: [0, TURN] }[event.key] || [0, 0];
  const factor = { "+": 1 / NEARER, "=": 1 / NEARER, "-": NEARER }[event.key] || 1;
  if (!around && !over && factor === 1) return;
  event.preventDefault();
  const level = new THREE.Quaternion().setFromUnitVectors(view.up, new THREE.Vector3(0, 1, 0));
  const away = view.position.clone().sub(orbit.target).applyQuaternion(level);
  const place = new THREE.Spherical().setFromVector3(away);
  place.set(place.radius * factor, place.phi + over, place.theta + around).makeSafe();
  view.position.setFromSpherical(place).applyQuaternion(level.invert()).add(orbit.target);
  draw();
}

function resize() {
  const { clientWidth: width, clientHeight: height } = stage;
  renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
  renderer.setSize(width, height, false);
  view.aspect = width / height;
  view.updateProjectionMatrix();
  draw();
}

function reset() {
  const [x, y, z] = data.home;
  // A frame that is higher than wide needs more distance to hold the same ball.
  const room = Math.max(1, 0.9 / view.aspect);
  view.position.set(x, y, z).multiplyScalar(room);
  orbit.target.set(0, 0, 0);
  draw();
}

function toggle() {
  for (const input of document.querySelectorAll("#bar input")) {
    if (input.name === "spin") orbit.autoRotate = input.checked;
    else if (input.name !== "split") parts[input.name].visible = input.checked;
  }
  for (const bar of document.querySelectorAll(".scale")) bar.hidden = !parts[bar.dataset.layer].visible;
  draw();
}

function start() {
  renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true });
  renderer.domElement.setAttribute("role", "img");
  renderer.domElement.setAttribute("aria-label", "The result in three dimensions");
  renderer.domElement.tabIndex = 0;
  renderer.domElement.addEventListener("keydown", key);
  stage.append(renderer.domElement);
  view = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 0.01, 200);
  view.up.set(...data.up);
  orbit = new OrbitControls(view, renderer.domElement);
  orbit.autoRotateSpeed = 1.2;
  orbit.enableZoom = false;
  // The page keeps scrolling over the view until somebody takes hold of it.
  renderer.domElement.style.touchAction = "pan-y";
  renderer.domElement.addEventListener("pointerdown", () => { orbit.enableZoom = true; }, { capture: true });
  renderer.domElement.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") orbit.enableZoom = false; });
  orbit.addEventListener("change", draw);
  const sun = new THREE.DirectionalLight(0xffffff, 1.9);
  sun.position.set(-0.5, 0.8, 0.6);
  view.add(sun, sun.target);
  scene.add(view, new THREE.HemisphereLight(0xffffff, 0x6b7480, 1.5));
  if (data.components) parts.components = components(data.components);
  if (data.mesh) parts.mesh = surface(data.mesh, FIT, 1);
  if (data.reference) {
    parts.reference = surface(data.reference, TRUTH, 0.45);
    const fit = data.mesh ? surface({ ...data.mesh, colors: undefined }, FIT, 1) : data.components ? components(data.components) : null;
    halves = [fit, surface({ ...data.reference, colors: undefined }, TRUTH, 1)].filter(Boolean);
    halves.forEach((shape) => { shape.visible = false; });
    scene.add(...halves);
  }
  if (data.cameras) parts.cameras = cameras(data.cameras);
  (data.layers || []).forEach((layer, number) => {
    parts[`layer${number}`] = surface(layer, new THREE.Color().setRGB(...layer.color, THREE.SRGBColorSpace), layer.opacity);
  });
  scene.add(...Object.values(parts));
  document.getElementById("bar").addEventListener("input", toggle);
  document.getElementById("reset").addEventListener("click", reset);
  resize();
  reset();
  toggle();
  new ResizeObserver(resize).observe(stage);
}

const large = document.getElementById("large"), buttons = [...document.querySelectorAll(".zoom")];
let page = 0;

function open(number) {
  page = (number + buttons.length) % buttons.length;
  const { src, alt } = buttons[page].querySelector("img");
  Object.assign(large.querySelector("img"), { src, alt });
  document.getElementById("caption").textContent = alt;
  if (!large.open) large.showModal();
}

buttons.forEach((button, number) => button.addEventListener("click", () => open(number)));
large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
large.addEventListener("keydown", ({ key }) => {
  if (key === "ArrowRight") open(page + 1);
  if (key === "ArrowLeft") open(page - 1);
});

try {
  start();
} catch (error) {
  root.dataset.viewer = "failed";
  document.getElementById("excuse").textContent = `The interactive view could not start: ${error.message}`;
}
