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

const parts = {};
let renderer, view, orbit;
const scene = new THREE.Scene();
let due = false;

function draw() {
  if (due || !renderer) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    const turning = orbit.update();
    renderer.render(scene, view);
    root.dataset.viewer = "ready";
    if (turning && orbit.autoRotate) draw();
  });
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
    else parts[input.name].visible = input.checked;
  }
  draw();
}

function start() {
  renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true });
  renderer.domElement.setAttribute("role", "img");
  renderer.domElement.setAttribute("aria-label", "The result in three dimensions");
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
  if (data.mesh) parts.mesh = surface(data.mesh, 0xd9c7ad, 1);
  if (data.reference) parts.reference = surface(data.reference, 0xf2f4f7, 0.35);
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

for (const picture of document.querySelectorAll("figure img")) {
  picture.addEventListener("click", () => picture.parentElement.classList.toggle("wide"));
}

try {
  start();
} catch (error) {
  root.dataset.viewer = "failed";
  document.getElementById("excuse").textContent = `The interactive view could not start: ${error.message}`;
}
